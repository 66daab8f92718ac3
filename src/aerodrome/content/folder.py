"""A folder on disk with versions: built aside, put in place in one instant, cleaned up after any crash.

    content/dags                          what components read: always a whole version
    content/.versions/dags-VERSION        the version before, so that a process working in it can finish
    content/.versions/dags-VERSION.json   manifest of that version
    content/.versions/dags-VERSION.new    being built (or, after a crash, rubbish)

**Why a real directory that is exchanged, and not a symbolic link that is turned.** Airflow 3.3.1 itself copes with a
link: its bundle keeps the path unresolved and file locations stay relative to it. DAG authors don't: with
`Path(__file__).resolve()` in an operator's argument, the serialised DAG of the same file had another hash under every
version (measured), so every upload of any file would make a new DAG version of every such DAG, and a running task
would hold a path that vanishes. `.airflowignore` rules are kept under resolved paths as well, so a walk that crosses
the turn forgets them. An exchanged directory has one path for ever, resolved or not, and is just as atomic.
Renaming file by file in place would show half an upload, for as long as the control plane is down if it dies there.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from aerodrome.content.manifest import Manifest
from aerodrome.files import put_in_place

_FILE_MODE = 0o644
_DIRECTORY_MODE = 0o755


class VersionedFolder:
    """One folder, `place`, and its versions. All calls block; one thread at a time."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._versions = place.parent / ".versions"
        self._prefix = f"{place.name}-"

    def current(self) -> Manifest | None:
        """The manifest of what is in place; None when nothing is, or it is not known what."""
        try:
            inode = self.place.stat().st_ino
        except FileNotFoundError:
            return None
        for path in sorted(self._versions.glob(f"{self._prefix}*.json"), reverse=True):
            manifest = Manifest.parse(path.read_text(errors="replace"))
            if manifest and manifest.inode == inode:
                return manifest
        return None

    def begin(self) -> tuple[str, Path]:
        """Clean up what a crash left, and make an empty directory for a new version."""
        for directory in (self.place.parent, self._versions):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(_DIRECTORY_MODE)
        self.abandon()
        version = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        new = self._versions / f"{self._prefix}{version}.new"
        new.mkdir()
        new.chmod(_DIRECTORY_MODE)
        return version, new

    def abandon(self) -> None:
        """Remove half-written versions."""
        for path in self._versions.glob(f"{self._prefix}*.new*"):
            _remove(path)

    def keep(self, new: Path, path: str, size: int) -> bool:
        """Take an unchanged file over into the new version, as a hard link if possible.

        False when it isn't there, or hasn't its size: a power cut may have left it empty.
        """
        source, target = self.place / path, new / path
        try:
            if source.lstat().st_size != size:
                return False
        except FileNotFoundError:
            return False
        make_parents(new, path)
        try:
            os.link(source, target, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError:  # too many links, or a file system without them
            shutil.copy2(source, target)
        return True

    def commit(self, new: Path, manifest: Manifest, changed: Iterable[str] = ()) -> None:
        """Put the new version in place. Its manifest is written first: the inode says whether it is in place yet.

        The files `changed` are dated once more: what parsed them a moment before the exchange has seen the old ones.
        """
        path = self._versions / f"{self._prefix}{manifest.version}.json"
        aside = path.with_name(f"{path.name}.new")
        aside.write_text(manifest.dump())
        aside.replace(path)
        before = self.current()
        exchanged = put_in_place(new, self.place)
        now = time.time_ns()  # the kernel's own idea of now, for a time that isn't given, is some milliseconds old
        for name in changed:
            os.utime(self.place / name, ns=(now, now))
        if exchanged and before is not None:
            new.rename(self._versions / f"{self._prefix}{before.version}")
        self._prune({manifest.version, before.version if before else ""})

    def _prune(self, keep: set[str]) -> None:
        for path in self._versions.glob(f"{self._prefix}*"):
            if path.name.removeprefix(self._prefix).removesuffix(".json") not in keep:
                _remove(path)


def make_parents(root: Path, path: str) -> None:
    """The directories above `path` below `root`, readable by all whatever the umask."""
    directory = root
    for segment in path.split("/")[:-1]:
        directory = directory / segment
        if not directory.exists():
            directory.mkdir()
            directory.chmod(_DIRECTORY_MODE)


def publish(file: Path) -> None:
    """Readable by all, and dated now: Airflow parses a known file again when it is younger than its last parse, and
    the time of the upload may be older than that."""
    file.chmod(_FILE_MODE)
    os.utime(file)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

"""plugins.zip to a folder of its own, named after what is in the archive: made aside, put in place in one instant.

    FOLDER/DIGEST             the tree: readable by all, never changed once it is there
    FOLDER/DIGEST.json        size of each of its files, by path: a tree that lost some is made again
    FOLDER/.DIGEST.new        being made; like all that begins with a dot it is rubbish after a crash

Nothing of an archive is trusted: `archive` says which entries become which files, and the bytes are counted as they
come, since an archive may say anything of them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from aerodrome.content.archive import MAX_BYTES, Entry, amount, plan
from aerodrome.content.folder import make_parents
from aerodrome.errors import Permanent, Temporary
from aerodrome.files import put_in_place, write_file

_DIRECTORY_BYTES = 8 << 20  # of an archive's own directory, which is read whole: that of 50,000 entries and more
_CHUNK = 1 << 20
_FILE_MODE, _PROGRAM_MODE, _FOLDER_MODE = 0o644, 0o755, 0o755
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, UnicodeError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True)
class Tree:
    """An unpacked archive. `size` is of all files, in bytes."""

    digest: str
    path: Path
    files: int
    size: int


def digest_of(archive: Path) -> str:
    """What names the archive's tree: 32 hexadecimal digits of its SHA-256. Blocking."""
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def unpack(archive: Path, folder: Path, name: str = "plugins.zip") -> Tree:
    """Unpack the archive below `folder` unless its tree is there and whole. `name` is what messages call it.

    An empty file gives an empty tree: on MWAA that is how plugins are taken away. Safe to kill at any moment, and to
    call again; one call at a time for each `folder`. Blocking.

    Raises:
        Permanent: the archive is refused; the message says why.
        Temporary: the disk is full or refuses.
    """
    try:
        digest = digest_of(archive)
        place, listing = folder / digest, folder / f"{digest}.json"
        aside = folder / f".{digest}.new"
        sizes = _read(listing)
        if sizes is None or not _is_whole(place, sizes):
            sizes = _make(archive, aside, name)
            write_file(listing, json.dumps(sizes), 0o644)
            put_in_place(aside, place)
        _tidy(folder)
    except OSError as error:
        free = " Free some space." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise Temporary(f"{name} can't be unpacked to {folder}: {error.strerror}.{free}", 10) from error
    return Tree(digest, place, len(sizes), sum(sizes.values()))


def is_there(folder: Path, digest: str, *, look_closely: bool = False) -> bool:
    """Whether the tree of that name is there; closely: with every file. Blocking."""
    if not look_closely:
        return (folder / digest).is_dir()
    sizes = _read(folder / f"{digest}.json")
    return sizes is not None and _is_whole(folder / digest, sizes)


def remove(folder: Path, digest: str) -> None:
    """Remove the tree of that name, which nothing uses. Absent is success; may be killed at any moment. Blocking."""
    gone = folder / f".{digest}.gone"
    _tidy(folder)
    if (folder / digest).is_dir():
        (folder / digest).rename(gone)
    (folder / f"{digest}.json").unlink(missing_ok=True)
    _tidy(folder)


def _make(archive: Path, aside: Path, name: str) -> dict[str, int]:
    """Unpack to `aside`, which is left to nobody when that fails; the size of each file by path."""
    if archive.stat().st_size > MAX_BYTES:
        raise Permanent(
            f"{name} was not unpacked: it has {amount(archive.stat().st_size)}, and {amount(MAX_BYTES)} is the most."
        )
    _tidy(aside.parent)
    aside.mkdir(parents=True)
    aside.chmod(_FOLDER_MODE)
    try:
        return _extract(archive, aside, name) if archive.stat().st_size else {}
    except BaseException as error:
        _tidy(aside.parent)
        # EINVAL: of a seek to a place that only a damaged archive names.
        if isinstance(error, _BROKEN) or (isinstance(error, OSError) and error.errno == errno.EINVAL):
            why = f"it is no ZIP archive, or a damaged one ({error})"
            raise Permanent(f"{name} was not unpacked: {why}.") from error
        raise


def _extract(archive: Path, aside: Path, name: str) -> dict[str, int]:
    with _Bounded(archive) as file, zipfile.ZipFile(file) as opened:
        infos = opened.infolist()
        entries = [Entry.of(info) for info in infos]
        files = plan(name, entries, opened.start_dir)
        left = MAX_BYTES
        sizes: dict[str, int] = {}
        for path, index in files.items():
            make_parents(aside, path)
            sizes[path] = _write(opened, infos[index], aside / path, left)
            (aside / path).chmod(_PROGRAM_MODE if entries[index].is_executable else _FILE_MODE)
            left -= sizes[path]
    return sizes


def _write(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Write one file, which isn't there yet, of at most `left` bytes; how many they were."""
    written = 0
    with opened.open(info) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > left:
                raise zipfile.BadZipFile(f"it holds more than {amount(MAX_BYTES)}, other than it says")
            file.write(chunk)
    if written != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename!r} has another size than it says")
    return written


class _Bounded(FileIO):
    """An archive on disk, of which no directory of unreasonable size is read into memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its directory has {amount(size)}")
        return super().read(-1 if size is None else size) or b""


def _read(listing: Path) -> dict[str, int] | None:
    try:
        found = json.loads(listing.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _is_whole(place: Path, sizes: dict[str, int]) -> bool:
    try:
        return place.is_dir() and all(os.lstat(place / path).st_size == size for path, size in sizes.items())
    except (OSError, TypeError):
        return False


def _tidy(folder: Path) -> None:
    """Remove what calls that were killed left, and a tree that was replaced."""
    for path in folder.glob(".*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

"""What a runtime is made of, written down when its build ends, so that a missing or shortened file is noticed.

The list stands in the marker: `KEY interface=N`, then one line of JSON with the size of every file by folder. Sizes,
not times: a restore from a backup changes times, and what a power cut or a full disk damages has another size. The list
grows once more when the parts that nobody imports at first are compiled. Files that came later are nobody's concern.
A marker with the key alone was written by a release that kept no list: nothing is known of such a runtime.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
from pathlib import Path

from aerodrome.files import write_file
from aerodrome.layout import Layout
from aerodrome.runtimes.key import MARKER

# Grows when a component's command or variables need something of `aerodrome_airflow` that earlier runtimes don't have:
# environments that are pinned to those then go over to the current one.
INTERFACE = 5
_FIRST_INTERFACE = 1  # of runtimes that don't say
_LINK = -1  # in place of a size: where a link leads to is the system's business, but for the interpreter's

Listing = dict[str, dict[str, int]]  # folder, relative -> name -> size in bytes


def take(root: Path) -> Listing:
    """All files below `root`. Blocking: 0.2 s for 20,000 files, a second when the disk must be asked."""
    found: Listing = {}
    folders = [""]
    while folders:
        folder = folders.pop()
        files = found.setdefault(folder, {})
        compiled = folder.endswith("__pycache__")
        with os.scandir(root / folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(os.path.join(folder, entry.name))
                elif entry.is_symlink():
                    files[entry.name] = _LINK
                elif not compiled or entry.name.endswith(".pyc"):  # others are being written, and renamed then
                    files[entry.name] = entry.stat(follow_symlinks=False).st_size
    found[""].pop(MARKER, None)
    return found


def complete(root: Path, key: str) -> None:
    """Write the marker that makes the folder a runtime, with a list of what is in it; called again, the list grows."""
    listing, before = take(root), _read(root)[1] if (root / MARKER).exists() else {}
    for folder, files in before.items():  # what was lost since must not be forgotten
        listing.setdefault(folder, {}).update(files)
    text = json.dumps(listing, separators=(",", ":"), sort_keys=True)
    write_file(root / MARKER, f"{key} interface={INTERFACE}\n{text}\n", 0o644)


def interface(root: Path) -> int | None:
    """Which interface the runtime's part of ours has; None when its marker can't be read. Fast."""
    try:
        with (root / MARKER).open() as marker:
            words = marker.readline(200).split()
        return int(words[1].removeprefix("interface=")) if len(words) > 1 else _FIRST_INTERFACE
    except (OSError, ValueError):
        return None


def damage(layout: Layout, key: str) -> str | None:
    """What of a runtime that was built to its end is damaged, as a phrase; None when all is there. Blocking."""
    root = layout.runtime(key)
    try:
        found, listing = _read(root)
    except (OSError, ValueError):
        return "its list of files is damaged"
    if found != key:
        return f"its marker names the runtime {found!r}"
    python = root / "bin" / "python"
    if not os.access(python, os.X_OK):
        return f"its Python, {os.path.realpath(python)}, is gone"
    return _difference(root, listing)


def _read(root: Path) -> tuple[str, Listing]:
    """The marker's key and list. Raises ValueError when it is damaged."""
    header, _, text = (root / MARKER).read_text().partition("\n")
    key, _, rest = header.partition(" ")
    if not rest and not text:
        return key, {}
    listing: Listing = json.loads(text)
    return key, listing


def _difference(root: Path, wanted: Listing) -> str | None:
    missing, changed = [], []
    top = f"{root}/"
    for folder, files in wanted.items():
        for name, size in files.items():
            path = f"{folder}/{name}" if folder else name
            try:
                found = os.lstat(top + path).st_size
            except OSError:
                missing.append(path)
            else:
                if size not in (found, _LINK):
                    changed.append(path)
    phrases = [
        f"{len(paths)} {'file' if len(paths) == 1 else 'files'} {what}, first {min(paths)}"
        for paths, what in ((missing, "missing"), (changed, "of another size"))
        if paths
    ]
    return "; ".join(phrases) or None


def wrong_packages(site: Path) -> list[str]:
    """Names of the packages in `site` of which a file isn't what the package's own record says. Blocking, seconds."""
    wrong = []
    for record in sorted(site.glob("*.dist-info/RECORD")):
        with record.open(newline="") as rows:
            entries = [(row[0], row[1]) for row in csv.reader(rows) if len(row) > 1 and row[1].startswith("sha256=")]
        # Scripts carry the path of their interpreter, which no record knows.
        if not all(_is(site / path, digest[7:]) for path, digest in entries if not path.startswith("..")):
            wrong.append(record.parent.name.partition("-")[0])
    return wrong


def _is(path: Path, digest: str) -> bool:
    try:
        found = hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return False
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode() == digest

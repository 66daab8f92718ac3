"""What of a ZIP archive becomes which file: pure, and safe against any archive that somebody can make.

An archive is taken whole or refused: half of somebody's plugins is worse than none, and whoever sent a hostile one gets
a sentence that names the entry. Refused are names that lead out of the folder, links and special files, entries that
are encrypted, share bytes or come twice, and what would unpack to more than MWAA's 1 GB (mwaa-spec 5).
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aerodrome.content.keys import unusable
from aerodrome.errors import Permanent

MAX_BYTES = 1 << 30  # of the archive, and of what is in it
MAX_ENTRIES = 50_000
MAX_RATIO = 200  # unpacked to packed, of the whole archive: text rarely reaches 20, deflate can reach 1032
FREE_BYTES = 64 << 20  # of an archive that unpacks to less the ratio is nobody's concern

_ENCRYPTED = 0x1 | 0x40 | 0x2000  # flag bits: encrypted, strongly so, with a hidden directory
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what every tool makes; others cost memory that the file chooses
_LOCAL_HEADER = 30  # bytes, without name and extra field
_SCALE = ("bytes", "KB", "MB", "GB")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the archive's directory. Sizes and the offset are in bytes."""

    name: str
    size: int
    packed: int
    offset: int
    method: int
    flags: int
    mode: int  # of Unix, file type included; 0 when the tool that made the archive didn't say

    @classmethod
    def of(cls, info: zipfile.ZipInfo) -> Entry:
        # `filename` ends at the first NUL, `orig_filename` has it all.
        name = info.orig_filename if "\0" in info.orig_filename else info.filename
        return cls(
            name, info.file_size, info.compress_size, info.header_offset,
            info.compress_type, info.flag_bits, info.external_attr >> 16,
        )  # fmt: skip

    @property
    def is_directory(self) -> bool:
        return self.name.endswith("/")

    @property
    def is_executable(self) -> bool:
        return bool(self.mode & stat.S_IXUSR)


def plan(archive: str, entries: Sequence[Entry], directory_offset: int) -> dict[str, int]:
    """Relative path of each file -> index of its entry. `archive` is what messages call it; `directory_offset`: where
    the entries end and the archive's directory begins, in bytes.

    Raises:
        Permanent: the archive is refused; the message names the entry, the reason and what to do.
    """
    if len(entries) > MAX_ENTRIES:
        raise _refusal(archive, f"it has {len(entries)} entries, and {MAX_ENTRIES} is the most that is unpacked")
    _check_sizes(archive, entries)
    _check_overlap(archive, entries, directory_offset)
    files: dict[str, int] = {}
    folders: set[str] = set()
    for index, entry in enumerate(entries):
        fault = _fault(entry)
        if fault:
            raise _refusal(archive, f"its entry {_shown(entry.name)} {fault}")
        path = _path(entry.name)
        if _is_clutter(path):
            continue
        if entry.is_directory:
            folders.add(path)
        elif path in files:
            raise _refusal(archive, f"its entry {_shown(entry.name)} comes twice; pack it again, once")
        else:
            files[path] = index
    _check_folders(archive, files, folders)
    return files


def _fault(entry: Entry) -> str | None:
    """Why the entry can't be unpacked, as the end of a sentence; None when it can."""
    kind = stat.S_IFMT(entry.mode)
    if entry.flags & _ENCRYPTED:
        return "is encrypted; pack it without a password"
    if kind == stat.S_IFLNK:
        return "is a symbolic link; pack the file it leads to (`zip` without --symlinks)"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a special file (a device, pipe or socket); leave it out"
    if entry.method not in _METHODS:
        return f"is compressed with method {entry.method}; use deflate, as `zip` does unless told otherwise"
    if "\\" in entry.name:
        return "has a backslash in its name; pack it with a tool that writes '/' between folders"
    if entry.name.startswith("/") or entry.name[1:2] == ":":
        return "has an absolute name; pack it from within the folder"
    problem = unusable(_path(entry.name)) if _path(entry.name) else None
    return f"can't be a file here: {problem}" if problem else None


def _path(name: str) -> str:
    """`./a/b` and `a/b/` as `a/b`; `./` is the folder itself, empty."""
    while name.startswith("./"):
        name = name[2:]
    return name.removesuffix("/")


def _is_clutter(path: str) -> bool:
    """The folder itself, and what macOS adds: Airflow would import its `._*.py` as plugins."""
    return not path or path == "__MACOSX" or path.startswith("__MACOSX/")


def _check_sizes(archive: str, entries: Iterable[Entry]) -> None:
    sizes = [(entry.size, entry.packed) for entry in entries]
    size, packed = sum(size for size, _ in sizes), sum(packed for _, packed in sizes)
    if size > MAX_BYTES:
        raise _refusal(archive, f"it unpacks to {amount(size)}, and {amount(MAX_BYTES)} is the most")
    if size > FREE_BYTES and size > MAX_RATIO * packed:
        raise _refusal(archive, f"{amount(packed)} of it unpack to {amount(size)}, as nothing but a ZIP bomb does")


def _check_overlap(archive: str, entries: Sequence[Entry], directory_offset: int) -> None:
    """Entries that share bytes are how a small archive gets a large content that no ratio shows."""
    order = sorted(entries, key=lambda entry: entry.offset)
    ends = [entry.offset for entry in order[1:]] + [directory_offset]
    for entry, end in zip(order, ends, strict=False):
        if entry.offset + _LOCAL_HEADER + entry.packed > end:
            raise _refusal(archive, f"its entry {_shown(entry.name)} shares bytes with another one")


def _check_folders(archive: str, files: Mapping[str, int], folders: set[str]) -> None:
    parents = {path[:end] for path in [*files, *folders] for end, character in enumerate(path) if character == "/"}
    for path in sorted((parents | folders) & files.keys()):
        raise _refusal(archive, f"its entry {_shown(path)} is a file and a folder")


def _refusal(archive: str, why: str) -> Permanent:
    return Permanent(f"{archive} was not unpacked: {why}.")


def _shown(name: str) -> str:
    return repr(name if len(name) <= 200 else f"{name[:200]}…")


def amount(size: int) -> str:
    """Bytes for a person."""
    number, unit = float(size), 0
    while number >= 1000 and unit < len(_SCALE) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.3g} {_SCALE[unit]}"

"""Which objects of a bucket become which files: pure, and safe against any key that S3 allows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

MAX_SEGMENT = 255  # bytes in one file name, on every Linux file system
MAX_PATH = 1024  # bytes below the folder; a key is at most this long
MAX_DEPTH = 100  # parts of a path: whoever removes a tree has a directory open for each of them


@dataclass(frozen=True, slots=True)
class Listed:
    """One object as a listing shows it. `modified` is in whole seconds since 1970, the precision of HTTP's header."""

    key: str
    etag: str
    size: int
    modified: int


def folder_prefix(path: str) -> str:
    """`DagS3Path` as a key prefix: `dags`, `dags/` and `/dags` are the same folder; empty is the whole bucket."""
    trimmed = path.strip("/")
    return f"{trimmed}/" if trimmed else ""


def plan_files(objects: Iterable[Listed], prefix: str) -> tuple[dict[str, Listed], list[str]]:
    """Relative path -> object, and one warning per object that can't be a file here.

    Directory markers (keys ending in `/`) are no files and no cause for a warning. Where `a` and `a/b` both exist
    the file gives way to the directory, as it holds more.
    """
    files: dict[str, Listed] = {}
    warnings: list[str] = []
    for item in objects:
        if item.key.endswith("/") or not item.key.startswith(prefix):
            continue
        path = item.key[len(prefix) :]
        problem = unusable(path)
        if problem:
            warnings.append(f"skipped {item.key!r}: {problem}")
        else:
            files[path] = item
    for path in _hidden_by_directories(files):
        warnings.append(f"skipped {files[path].key!r}: other objects lie below it, so it is a directory here")
        del files[path]
    return files, warnings


def unusable(path: str) -> str | None:
    """Why `path` can't be a relative file name, or None when it can."""
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        return "its name holds a control character"
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "its name is not valid Unicode"
    if len(encoded) > MAX_PATH:
        return f"its name is longer than {MAX_PATH} bytes"
    segments = path.split("/")
    if "" in segments:
        return "its name holds an empty path segment"
    if "." in segments or ".." in segments:
        return "its name holds a '.' or '..' path segment"
    if len(segments) > MAX_DEPTH:
        return f"it lies more than {MAX_DEPTH} directories deep"
    if any(len(segment.encode()) > MAX_SEGMENT for segment in segments):
        return f"a segment of its name is longer than {MAX_SEGMENT} bytes"
    return None


def _hidden_by_directories(files: Iterable[str]) -> list[str]:
    """Sorted so that what lies below a path follows it at once; no usable path holds a NUL."""
    ordered = sorted(files, key=lambda path: path.replace("/", "\0"))
    return [path for path, following in pairwise(ordered) if following.startswith(f"{path}/")]

"""The last lines of a log, read from its end: logs are large."""

from __future__ import annotations

import os
from pathlib import Path

_BLOCK = 64 * 1024
_LIMIT = 16 * 1024 * 1024  # bytes looked through at most, whatever the lines' length


def last_lines(path: Path, lines: int) -> str:
    """The last lines of the log, continued into the file that it was last rotated to. Absent is empty."""
    found = _last_lines(path, lines)
    if len(found) < lines:
        found = _last_lines(path.with_name(f"{path.name}.1"), lines - len(found)) + found
    return "\n".join(line.decode(errors="replace") for line in found)


def _last_lines(path: Path, lines: int) -> list[bytes]:
    if lines <= 0:
        return []
    try:
        with path.open("rb") as file:
            position = file.seek(0, os.SEEK_END)
            blocks: list[bytes] = []
            breaks = 0
            while position > 0 and breaks <= lines and len(blocks) * _BLOCK < _LIMIT:
                start = max(0, position - _BLOCK)
                file.seek(start)
                blocks.append(file.read(position - start))
                breaks += blocks[-1].count(b"\n")
                position = start
    except FileNotFoundError:
        return []
    return b"".join(reversed(blocks)).splitlines()[-lines:]

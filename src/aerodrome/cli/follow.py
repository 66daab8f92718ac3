"""The control plane's log on the terminal, across rotations, until the installation is taken down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

_LOOK = 0.25  # seconds between two looks at the file
_LOOKS_PER_CHECK = 8


async def follow(path: Path, write: Callable[[str], None], alive: Callable[[], Awaitable[bool]]) -> None:
    """Write what is added to the file from now on; return when `alive` says False."""
    file: BinaryIO = path.open("rb")
    file.seek(0, 2)
    try:
        while True:
            for _ in range(_LOOKS_PER_CHECK):
                file = _copy(file, path, write)
                await asyncio.sleep(_LOOK)
            if not await alive():
                _copy(file, path, write)
                return
    finally:
        file.close()


def _copy(file: BinaryIO, path: Path, write: Callable[[str], None]) -> BinaryIO:
    """Write what is new; the file to go on with, another one after a rotation."""
    if text := file.read().decode(errors="replace"):
        write(text)
    try:
        rotated = path.stat().st_ino != Path(f"/proc/self/fd/{file.fileno()}").stat().st_ino
    except FileNotFoundError:  # in the middle of a rotation
        return file
    if not rotated:
        return file
    if text := file.read().decode(errors="replace"):
        write(text)
    file.close()
    return path.open("rb")

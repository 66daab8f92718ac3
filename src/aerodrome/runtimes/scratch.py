"""Folders for a while: what uv reads may hold logins, so what a kill leaves of them mustn't stay."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aerodrome.files import ensure_directory
from aerodrome.layout import Layout


@contextmanager
def scratch(layout: Layout) -> Iterator[Path]:
    """An empty folder that nobody else may enter, gone afterwards. Those that nobody holds any more go first.

    Raises:
        OSError: the disk is full or may not be written to.
    """
    above = layout.run / "scratch"
    above.parent.mkdir(mode=0o711, parents=True, exist_ok=True)  # there need be no installation yet
    ensure_directory(above, 0o700)
    with _held(above):  # nobody takes a new folder for one that was left
        _sweep(above)
        path = Path(tempfile.mkdtemp(dir=above))
        held = _open(path)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(held)


def _sweep(above: Path) -> None:
    for path in above.iterdir():
        with suppress(FileNotFoundError, BlockingIOError), _held(path, fcntl.LOCK_NB):  # its owner is at work, or done
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _held(path: Path, how: int = 0) -> Iterator[None]:
    held = _open(path)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | how)
        yield
    finally:
        os.close(held)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

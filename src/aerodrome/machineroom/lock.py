"""One command at a time changes an installation; the lock goes with the process that holds it."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aerodrome.errors import Permanent
from aerodrome.layout import Layout

_LOOK = 0.2  # seconds between two looks at a lock that somebody else holds


@asynccontextmanager
async def only_us(layout: Layout, verb: str, notice: Callable[[str], None]) -> AsyncIterator[None]:
    """Hold the installation's lock while the block runs; waits for whoever has it, and says so once.

    Raises:
        Permanent: there is no home.
    """
    try:
        descriptor = os.open(layout.home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise Permanent(f"There is no installation at {layout.home}. Run `aerodrome up` first.") from None
    try:
        told = False
        while not _take(descriptor):
            if not told:
                other = os.pread(descriptor, 100, 0).decode(errors="replace").strip() or "aerodrome command"
                notice(f"Waiting for the {other}, which works on this installation.")
                told = True
            await asyncio.sleep(_LOOK)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"`aerodrome {verb}` of process {os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

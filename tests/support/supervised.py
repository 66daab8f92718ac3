"""A real supervisord in a short-lived home, and what tests look at in /proc."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aerodrome.layout import Layout
from aerodrome.supervision import Supervisor, end_leftovers
from support.homes import home_with_key

PASSWORD = "correct-horse"


@asynccontextmanager
async def supervised_home() -> AsyncIterator[tuple[Layout, Supervisor]]:
    """A home with a running supervisord; all of it is gone afterwards."""
    layout = _short_home()
    home = layout.home
    supervisor = Supervisor(layout, PASSWORD)
    try:
        await supervisor.start_daemon()
        yield layout, supervisor
    finally:
        await supervisor.shutdown(force=True)
        await end_leftovers(layout, force=True)
        await until(lambda: not processes_of(layout))  # a test must leave nothing behind
        shutil.rmtree(home)


def _short_home() -> Layout:
    """Paths of unix sockets are limited to about 100 bytes; the users of components must be able to pass through."""
    home = Path(tempfile.mkdtemp(prefix="aero-", dir="/tmp"))
    home.chmod(0o711)
    return home_with_key(home)


def processes_of(layout: Layout) -> list[int]:
    """Everything that was started below this home, by its command line or its environment."""
    needle = os.fsencode(layout.home)
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                texts = [Path("/proc", entry, name).read_bytes() for name in ("cmdline", "environ")]
            except OSError:
                continue
            if any(needle in text for text in texts):
                found.append(int(entry))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(met: Callable[[], bool], seconds: float = 10) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not met():
        assert asyncio.get_running_loop().time() < deadline, "it did not come true in time"
        await asyncio.sleep(0.05)


def read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""

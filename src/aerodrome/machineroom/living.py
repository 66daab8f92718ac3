"""What of an installation runs now."""

from __future__ import annotations

import asyncio
import time

from aerodrome.layout import Layout
from aerodrome.machineroom.installation import load
from aerodrome.supervision import ProgramPhase, Supervisor, daemon
from aerodrome.supervision.files import Files

_COMEBACK = 120.0  # seconds that the guard may take to bring everything back
_LOOK = 0.5
_LIVING = (ProgramPhase.STARTING, ProgramPhase.RUNNING)


async def living_programs(layout: Layout) -> frozenset[str] | None:
    """Names of the programs that run; None when supervisord doesn't, or nothing was installed yet.

    Raises:
        Permanent: the installation can't be read.
    """
    if not layout.installation_file.exists():
        return None
    supervisor = Supervisor(layout, load(layout).supervisor_password)
    if not await supervisor.alive():
        return None
    return frozenset(name for name, state in (await supervisor.states()).items() if state.phase in _LIVING)


async def lasts(layout: Layout) -> bool:
    """Whether it runs, or runs again after a while since its supervisor was killed and not stopped.

    Raises:
        Permanent: the installation can't be read.
    """
    files, deadline = Files.of(layout), time.monotonic() + _COMEBACK
    while await living_programs(layout) is None:
        stopped = not files.pid.exists() and not daemon.is_held(files)  # an orderly stop removes the pid
        if stopped or time.monotonic() > deadline:
            return False
        await asyncio.sleep(_LOOK)
    return True

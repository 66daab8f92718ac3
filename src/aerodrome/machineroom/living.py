"""What of an installation runs now."""

from __future__ import annotations

from aerodrome.layout import Layout
from aerodrome.machineroom.installation import load
from aerodrome.supervision import ProgramPhase, Supervisor

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

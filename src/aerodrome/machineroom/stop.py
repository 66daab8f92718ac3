"""Stopping an installation: environments first, their workers to the end of their tasks; or all at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aerodrome.errors import Temporary
from aerodrome.layout import Layout
from aerodrome.machineroom import control, draining
from aerodrome.machineroom.installation import load
from aerodrome.machineroom.lock import only_us
from aerodrome.machineroom.progress import Progress
from aerodrome.supervision import ProgramPhase, Supervisor, daemon, end_leftovers, leftovers, read_on
from aerodrome.supervision.files import Files

_LOOK = 0.5  # seconds
_ENDING = 10.0  # seconds that supervisord may take to end once its programs have
_STOPPED = (ProgramPhase.STOPPING, ProgramPhase.STOPPED)
_LIVING = (ProgramPhase.STARTING, ProgramPhase.RUNNING)


async def down(layout: Layout, progress: Progress, still: Callable[[list[str]], None], *, now: bool = False) -> bool:
    """Stop everything; False when nothing ran. Environments come back with the next `up`.

    Without `now`, workers finish the tasks they have: it may take hours. `still` is told what still runs. Cancelled,
    the workers drain on, the servers they need stay, and another `down` or `up` goes on from there.

    Raises:
        Permanent: there is no installation. Temporary: supervisord runs, but doesn't answer.
    """
    installation = await asyncio.to_thread(load, layout)
    supervisor = Supervisor(layout, installation.supervisor_password)
    if now:  # doesn't wait for a `down` that drains: it is how that is cut short
        return await _kill(layout, supervisor)
    async with only_us(layout, "down", progress.notice):
        ran = await _answers(layout, supervisor)
        if ran:
            draining.begin(layout)
            guard = asyncio.create_task(_end_who_restarts(supervisor))
            try:
                await supervisor.shutdown(progress=still)
            finally:
                guard.cancel()
        return await _wait_for_leftovers(layout, still) or ran


async def _answers(layout: Layout, supervisor: Supervisor) -> bool:
    """Whether there is a supervisord to be asked; one that another command is ending is waited for."""
    files, deadline = Files.of(layout), time.monotonic() + _ENDING
    while not await supervisor.alive():
        pid = await asyncio.to_thread(daemon.owner, files)
        if pid is None:
            return False
        if time.monotonic() > deadline:
            raise Temporary(
                f"The process supervisor (process {pid}) runs, but doesn't answer: nothing was stopped. If it says the "
                f"same again, end it with `kill -9 {pid}` and run `aerodrome down` once more."
            )
        await asyncio.sleep(_LOOK)
    return True


async def _end_who_restarts(supervisor: Supervisor) -> None:
    """The control plane serves tasks while workers drain; should it start again what was stopped, it goes first."""
    stopped: set[str] = set()
    while True:
        try:
            states = (await supervisor.states()).values()
        except Temporary:
            return  # supervisord is gone
        components = [state for state in states if "." in state.name]
        stopped |= {state.name for state in components if state.phase in _STOPPED}
        if any(state.name in stopped and state.phase in _LIVING for state in components):
            await supervisor.stop(control.NAME)
            return
        await asyncio.sleep(_LOOK)


async def _kill(layout: Layout, supervisor: Supervisor) -> bool:
    ran = await _answers(layout, supervisor)
    if ran:
        await supervisor.kill(control.NAME)  # first: it would start again what is ended
        await supervisor.shutdown(force=True)
    left = await asyncio.to_thread(leftovers, layout)
    if left:
        await end_leftovers(layout, force=True)
    return ran or bool(left)


async def _wait_for_leftovers(layout: Layout, still: Callable[[list[str]], None]) -> bool:
    """Workers may outlive a crash of supervisord, finishing their tasks."""
    if not await asyncio.to_thread(leftovers, layout):
        return False
    await asyncio.to_thread(read_on, layout)
    while left := await end_leftovers(layout):
        still([leftover.name for leftover in left])
        await asyncio.sleep(_LOOK)
    return True

"""Airflow's command line in an environment, without the seconds that a start of Airflow takes.

The first command of an environment starts a warm process, which has Airflow imported and forks for every command
(`supervision.warm`); it stays while commands come. It has the variables that it was started with: a command with others
(the environment was updated) gets another process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aerodrome.domain.component import Output
from aerodrome.errors import AerodromeError, Temporary
from aerodrome.layout import Layout
from aerodrome.supervision import Command, Unavailable, WarmProcess

log = logging.getLogger(__name__)

IDLE = 600.0  # seconds without a command until the warm process is let go: it takes some 100 MB
RETRY = 300.0  # seconds until a start is tried again where one failed
_LEAST = 1.0  # seconds that a command must have left
_ATTEMPTS = 2  # the process may be killed while it is asked

Cold = Callable[[float], Awaitable[Output]]
"""Runs the command in a start of Airflow of its own, within so many seconds."""


@dataclass(slots=True, eq=False)
class _Warm:
    """A warm process, from the wish for it to its end."""

    command: Command
    wished: float  # by the event loop's clock
    starting: asyncio.Task[WarmProcess | None]  # None: there can't be one
    running: int = 0
    leaving: asyncio.TimerHandle | None = None

    def failed_before(self, moment: float) -> bool:
        done = self.starting.done() and not self.starting.cancelled()
        return done and self.starting.result() is None and self.wished < moment


class WarmCommands:
    """Runs commands in warm processes, one for each environment that had a command lately."""

    def __init__(self, layout: Layout, *, idle: float = IDLE) -> None:
        self._layout = layout
        self._idle = idle
        self._held: dict[str, _Warm] = {}  # by environment
        self._ending: set[asyncio.Task[None]] = set()

    async def run(
        self, environment_id: str, command: Command, arguments: Sequence[str], cold: Cold, timeout: float
    ) -> Output:
        """Run a command to its end: in a fork of the process that `command` starts, or `cold` where there is none.

        Raises:
            Temporary: it did not end within `timeout` seconds, and was killed with all it started.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        for _ in range(_ATTEMPTS):
            warm = self._warm(environment_id, command)
            warm.running += 1
            try:
                process = await _ready(warm, deadline - clock())
                if process is None:
                    break
                return Output(*await process.run(arguments, timeout=deadline - clock()))
            except Unavailable as error:
                log.warning("environment %s: the warm process is lost: %s", environment_id, error)
                self._let_go(environment_id, warm)
            finally:
                warm.running -= 1
                self._rest(environment_id, warm)
        return await cold(deadline - clock())

    async def forget(self, environment_id: str) -> None:
        """End the environment's warm process, if there is one. Commands under way go on."""
        if (warm := self._held.pop(environment_id, None)) is not None:
            self._end(warm)
        await asyncio.gather(*self._ending)

    async def close(self) -> None:
        """End them all."""
        for environment_id in tuple(self._held):
            await self.forget(environment_id)

    def _warm(self, environment_id: str, command: Command) -> _Warm:
        loop = asyncio.get_running_loop()
        warm = self._held.get(environment_id)
        if warm is not None and (warm.command != command or warm.failed_before(loop.time() - RETRY)):
            self._let_go(environment_id, warm)
            warm = None
        if warm is None:
            warm = _Warm(command, loop.time(), asyncio.create_task(self._start(environment_id, command)))
            self._held[environment_id] = warm
        if warm.leaving is not None:
            warm.leaving.cancel()
        return warm

    async def _start(self, environment_id: str, command: Command) -> WarmProcess | None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            process = await WarmProcess.start(self._layout, command)
        except (Unavailable, AerodromeError) as error:
            text = "environment %s: every command starts Airflow anew for %d seconds, since it can't be kept warm: %s"
            log.warning(text, environment_id, RETRY, error)
            return None
        said = f"; on the way it said:\n{process.said}" if process.said else ""
        log.info("environment %s: ready for commands after %.1f s%s", environment_id, clock() - began, said)
        return process

    def _rest(self, environment_id: str, warm: _Warm) -> None:
        """Nobody uses it: let it go, at once or after a while."""
        if warm.running:
            return
        if self._held.get(environment_id) is warm:
            loop = asyncio.get_running_loop()
            warm.leaving = loop.call_later(self._idle, self._let_go, environment_id, warm)
        else:
            self._end(warm)

    def _let_go(self, environment_id: str, warm: _Warm) -> None:
        """Have no more commands run there; who waits for it gets it yet."""
        if self._held.get(environment_id) is warm:
            del self._held[environment_id]
        if not warm.running:
            self._end(warm)

    def _end(self, warm: _Warm) -> None:
        if warm.leaving is not None:
            warm.leaving.cancel()
        task = asyncio.create_task(_end(warm))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _ready(warm: _Warm, patience: float) -> WarmProcess | None:
    """The process once it is up; None when there can't be one.

    Raises:
        Temporary: it isn't up within `patience` seconds, with a second left for the command.
        Unavailable: it was ended meanwhile.
    """
    deadline = asyncio.get_running_loop().time() + patience - _LEAST
    await asyncio.wait({warm.starting}, timeout=max(0.0, patience - _LEAST))
    if not warm.starting.done() or asyncio.get_running_loop().time() > deadline:
        raise Temporary("The command did not begin in time: Airflow was still being imported. Try again.")
    if warm.starting.cancelled():
        raise Unavailable("it was ended while it started")
    return warm.starting.result()


async def _end(warm: _Warm) -> None:
    warm.starting.cancel()
    await asyncio.wait({warm.starting})
    if not warm.starting.cancelled() and (process := warm.starting.result()) is not None:
        await process.end()

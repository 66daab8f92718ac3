"""The queue of environments to look at: poked, or due after a while; never two looks at one environment at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from aerodrome.errors import AerodromeError, Temporary

log = logging.getLogger(__name__)

_BACKOFF_FIRST, _BACKOFF_MOST = 1.0, 60.0


class Loop:
    """Calls `reconcile(id)` for every id that is due; that returns the seconds until the next call it wants, or None.

    The call gets the id alone, never what happened: truth is the row and what the backend reports.
    """

    def __init__(
        self,
        reconcile: Callable[[str], Awaitable[float | None]],
        list_ids: Callable[[], Awaitable[Iterable[str]]],
        *,
        scan_interval: float = 10.0,
        concurrency: int = 6,
    ) -> None:
        self._reconcile = reconcile
        self._list_ids = list_ids
        self._scan_interval = scan_interval
        self._concurrency = concurrency
        self._due: dict[str, float] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, int] = {}
        self._wake = asyncio.Event()

    def poke(self, environment_id: str) -> None:
        """Look at it as soon as those that were due before have been; a look under way is followed by another."""
        now = asyncio.get_running_loop().time()
        self._due[environment_id] = min(now, self._due.get(environment_id, now))
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled; then waits for the looks under way to be cancelled too."""
        clock = asyncio.get_running_loop().time
        next_scan = 0.0
        try:
            while True:
                if clock() >= next_scan:
                    next_scan = clock() + self._scan_interval
                    await self._scan(clock())
                self._start_due(clock())
                self._wake.clear()
                pause = max(0.0, min([next_scan, *self._waiting_until()]) - clock())
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            tasks = list(self._running.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _waiting_until(self) -> list[float]:
        if len(self._running) >= self._concurrency:
            return []  # the end of a look wakes us
        return [at for environment_id, at in self._due.items() if environment_id not in self._running]

    async def _scan(self, now: float) -> None:
        try:
            for environment_id in await self._list_ids():
                self._due.setdefault(environment_id, now)
        except AerodromeError as error:
            log.warning("Can't list the environments; trying again in %.0f s: %s", self._scan_interval, error)

    def _start_due(self, now: float) -> None:
        for environment_id, at in sorted(self._due.items(), key=lambda item: item[1]):
            if len(self._running) >= self._concurrency:
                return
            if at <= now and environment_id not in self._running:
                del self._due[environment_id]
                self._running[environment_id] = asyncio.create_task(self._look(environment_id))

    async def _look(self, environment_id: str) -> None:
        clock = asyncio.get_running_loop().time
        try:
            again = await self._reconcile(environment_id)
            self._failures.pop(environment_id, None)
        except Temporary as error:
            again = self._back_off(environment_id, error.retry_after)
            log.warning("Environment %s: %s (again in %.0f s)", environment_id, error, again)
        except Exception:  # one environment's surprise must not stop the others
            again = self._back_off(environment_id, _BACKOFF_FIRST)
            log.exception("Environment %s: unexpected failure (again in %.0f s)", environment_id, again)
        finally:
            del self._running[environment_id]
            self._wake.set()
        if again is not None:
            self._due.setdefault(environment_id, clock() + again)

    def _back_off(self, environment_id: str, first: float) -> float:
        failures = self._failures.get(environment_id, 0)
        self._failures[environment_id] = failures + 1
        return float(min(_BACKOFF_MOST, first * 2**failures))

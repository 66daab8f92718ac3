"""Work that takes longer than a pass of the reconciler: begun by the first pass that needs it, asked after by the next.

It lives and dies with the control plane. Each errand may be cut off at any line, and is begun again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from aerodrome.errors import Temporary
from aerodrome.reconcile.ports import Made, Making

_AT_ONCE = 0.1  # seconds: what is done by then takes no second pass
_PATIENCE = 2.0  # seconds for one that is to end


@dataclass(slots=True)
class Progress:
    """How far an errand is."""

    why: str = ""
    took: dict[str, float] = field(default_factory=dict)  # phase -> seconds

    @contextmanager
    def phase(self, name: str, why: str) -> Iterator[None]:
        """`why` is what a person waits for meanwhile."""
        self.why, began = why, time.monotonic()
        try:
            yield
        finally:
            self.took[name] = self.took.get(name, 0.0) + time.monotonic() - began


Work = Callable[[Progress], Awaitable[Made]]


@dataclass(slots=True)
class _Errand:
    task: asyncio.Task[Made]
    progress: Progress
    ending: bool = False


class Errands:
    """By owner and name; what one came to is told once."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], _Errand] = {}

    def runs(self, owner: str, name: str) -> bool:
        """Whether it was begun and what it came to isn't told yet."""
        return (owner, name) in self._running

    def is_busy(self, owner: str) -> bool:
        """Whether any of the owner's is at work; what came of the others nobody wants to know any more."""
        self._forget_ended(owner)
        return any(key[0] == owner for key in self._running)

    async def ask(self, owner: str, name: str, work: Work) -> Making | Made:
        """Begin the work unless it was; what it came to when it is over. Raises what it raised."""
        errand = self._running.get((owner, name))
        if errand is None:
            progress = Progress("Beginning")
            errand = _Errand(asyncio.create_task(_run(work, progress), name=f"errand-{owner}"), progress)
            self._running[owner, name] = errand
            await asyncio.wait({errand.task}, timeout=_AT_ONCE)
        if not errand.task.done():
            return Making(errand.progress.why)
        del self._running[owner, name]
        return errand.task.result()

    async def stop(self, owner: str) -> None:
        """End the owner's; returns when none of them does anything any more.

        Raises:
            Temporary: one of them is at something that can't be cut off, and ends after that.
        """
        errands = [errand for key, errand in self._running.items() if key[0] == owner]
        for errand in errands:
            if not errand.ending:  # once: it may be waiting for a thread to end
                errand.ending = errand.task.cancel()
        if errands:
            await asyncio.wait({errand.task for errand in errands}, timeout=_PATIENCE)
        self._forget_ended(owner)
        if waiting := [errand.progress.why for key, errand in self._running.items() if key[0] == owner]:
            raise Temporary(f"Waiting for the end of this: {'; '.join(waiting)}", 1.0)

    def _forget_ended(self, owner: str) -> None:
        for key, errand in tuple(self._running.items()):
            if key[0] == owner and errand.task.done():
                del self._running[key]
                if not errand.task.cancelled():
                    errand.task.exception()  # looked at, since nobody else will

    async def close(self) -> None:
        for owner in {owner for owner, _ in self._running}:
            with suppress(Temporary):  # what is left by it is as after a kill
                await self.stop(owner)


async def _run(work: Work, progress: Progress) -> Made:
    return await work(progress)

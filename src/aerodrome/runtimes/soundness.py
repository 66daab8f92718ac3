"""Whether the runtimes on disk are whole, as far as we know: a look costs tenths of a second, so it is taken seldom.

A runtime is looked at when it is first used, when something that ran in it ended by itself, and when its marker is
another one than before: a rebuild was put in place. The first look goes on beside: most runtimes are whole, and what is
started in one that isn't takes no harm from the rebuild.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from aerodrome.layout import Layout
from aerodrome.runtimes import inventory
from aerodrome.runtimes.key import MARKER

_AGAIN = 30.0  # seconds between two looks at a runtime that is damaged, or in which things keep ending
_SETTLING = 60.0  # seconds: what failed on a damaged runtime is started again by its supervisor within that

_Marker = tuple[int, int, int]


@dataclass(slots=True)
class _Known:
    marker: _Marker | None = None
    damage: str | None = None
    looked_at: float | None = None
    mended_at: float | None = None
    look: asyncio.Task[None] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Soundness:
    """Of all runtimes below one home. `clock` is monotonic, in seconds."""

    def __init__(self, layout: Layout, clock: Callable[[], float] = time.monotonic) -> None:
        self._layout = layout
        self._clock = clock
        self._runtimes: dict[str, _Known] = {}

    async def damage(self, key: str, *, suspicious: bool = False) -> str | None:
        """What of the runtime is known to be damaged, as a phrase; None also when it isn't built at all.

        `suspicious`: something that ran in it ended by itself, so a look is worth waiting for.
        """
        marker = self._marker(key)
        if marker is None:
            return None
        known = self._runtimes.setdefault(key, _Known())
        if marker != known.marker and (suspicious or known.damage is not None):
            await self._look(key, known, marker)
        elif marker != known.marker and known.look is None:
            known.look = asyncio.create_task(self._look(key, known, marker))
        elif (suspicious or known.damage is not None) and self._is_old(known):
            await self._look(key, known, marker, again=True)
        if known.look is not None and known.look.done():
            known.look.result()
            known.look = None
        return known.damage

    def is_settling(self, key: str) -> bool:
        """Whether it was mended a moment ago: what failed on it before deserves another start."""
        known = self._runtimes.get(key)
        return known is not None and known.mended_at is not None and self._clock() - known.mended_at < _SETTLING

    async def _look(self, key: str, known: _Known, marker: _Marker, *, again: bool = False) -> None:
        async with known.lock:
            if marker == known.marker and not again:
                return  # somebody else looked while we waited
            found = await asyncio.to_thread(inventory.damage, self._layout, key)
            if known.damage is not None and found is None:
                known.mended_at = self._clock()
            known.marker, known.damage, known.looked_at = marker, found, self._clock()

    def _is_old(self, known: _Known) -> bool:
        return known.looked_at is None or self._clock() - known.looked_at > _AGAIN

    def _marker(self, key: str) -> _Marker | None:
        """Which marker is there; None: none, the runtime isn't built."""
        try:
            found = (self._layout.runtime(key) / MARKER).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

"""How many requests of one user may be under way at a web server: log streams last, and others want to be served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass


class Full(Exception):
    """The user's requests are all under way, and none ended in time."""


@dataclass(slots=True)
class _Line:
    turns: asyncio.Semaphore
    people: int = 0  # who hold a turn or wait for one


class Turnstile:
    """`limit` turns at once for each key; who comes too many waits `patience` seconds for one to end."""

    def __init__(self, limit: int, patience: float) -> None:
        self._limit = limit
        self._patience = patience
        self._lines: dict[Hashable, _Line] = {}

    @asynccontextmanager
    async def turn(self, key: Hashable) -> AsyncIterator[None]:
        """Hold a turn while the block runs.

        Raises:
            Full.
        """
        line = self._lines.setdefault(key, _Line(asyncio.Semaphore(self._limit)))
        line.people += 1
        try:
            try:
                async with asyncio.timeout(self._patience):
                    await line.turns.acquire()
            except TimeoutError as error:
                raise Full(f"{self._limit} requests of this user are under way in this environment.") from error
            try:
                yield
            finally:
                line.turns.release()
        finally:
            line.people -= 1
            if not line.people:
                del self._lines[key]

"""Group commit: requests that changed something wait until what they touched is on disk, many on one commit.

Looking at the state happens in the request loop, between requests, so a request is seen whole or not at all;
encrypting and writing happen in one thread beside it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor

from .disk import Change, Disk
from .s3state import S3State
from .services import Services
from .tracking import Entry, Owners, Touch, late

log = logging.getLogger("aerodrome.cloud")

SWEEP_SECONDS = 1.0
_ACTIVE_SECONDS = 60.0  # after a change, services may go on changing by themselves (stacks, deliveries, schedules)
_IDLE_SWEEP_SECONDS = 30.0
_SWEEP_SHARE = 0.02  # of the loop's time that looking at a service in the background may take


class NotDurable(Exception):
    """The state could not be written; it will be tried again with the next change."""


class Journal:
    """Turns touches into commits. One per process, in the request loop."""

    def __init__(self, disk: Disk, services: Services, s3: S3State, owners: Owners) -> None:
        self._disk = disk
        self._services = services
        self._s3 = s3
        self._owners = owners
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._entries: set[Entry] = set()
        self._dirty: set[str] = set()
        self._lazy: set[str] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._swept: dict[str, float] = {}
        self._active_until = 0.0
        self._next_idle_sweep = 0.0
        self._closing = False

    async def durable(self, touch: Touch) -> None:
        """Wait until all that the request touched is on disk.

        Raises:
            NotDurable: it could not be written (disk full, say).
        """
        self._take(touch)
        await self._commit()

    async def durable_services(self, *services: str) -> None:
        """The same, for a change made without a request."""
        self._dirty |= set(services)
        await self._commit()

    def soon(self, touch: Touch) -> None:
        """The request changed nothing that its caller counts on (a last-used date, a metric): the next sweep does."""
        entries, dirty = self._entries, self._dirty
        self._entries, self._dirty = set(), set()
        self._take(touch)
        self._lazy |= self._dirty
        for entry in self._entries:
            late.add(entry)
        self._entries, self._dirty = entries, dirty

    async def flush(self) -> None:
        """Everything, now."""
        self._entries |= late.take()
        self._dirty |= self._services.loaded()
        self._lazy.clear()
        await self._commit()

    async def run(self) -> None:
        """Commit whenever somebody waits, until `close`."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._waiting:
                await self._write()
            if self._closing and not self._waiting:
                return

    async def sweep(self) -> None:
        """Every second, save what changed outside requests or needn't be waited for."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            lately = late.take()
            self._entries |= lately
            if now < self._active_until or now >= self._next_idle_sweep:
                self._lazy |= self._services.loaded()
                self._next_idle_sweep = now + _IDLE_SWEEP_SECONDS
            due = {
                s for s in self._lazy if now >= self._swept.get(s, 0) + self._services.costs.get(s, 0) / _SWEEP_SHARE
            }
            if not due and not lately:
                continue
            self._lazy -= due
            self._dirty |= due
            self._swept.update(dict.fromkeys(due, now))
            try:
                await self._commit()
            except NotDurable as error:
                log.error("%s", error)

    async def close(self) -> None:
        await self.flush()
        self._closing = True
        self._wake.set()

    def _take(self, touch: Touch) -> None:
        touch.closed = True
        self._active_until = time.monotonic() + _ACTIVE_SECONDS
        self._entries |= touch.entries
        written = self._owners.of(touch.written_stores)
        read = self._services.of_readers(self._owners.of(touch.read_stores))
        served = self._services.modules(touch.service)
        if touch.entries:  # a request for an object reads its bucket's settings and leaves them alone
            read, served = read - {"s3"}, served - {"s3"}
        self._dirty |= {self._services.state_key(module) for module in written | read | served}

    async def _commit(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._wake.set()
        await asyncio.shield(future)

    async def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        entries, self._entries = self._entries, set()
        dirty, self._dirty = self._dirty, set()
        change = Change()
        try:
            looked = self._services.collect(dirty, change)
            self._s3.collect(entries, change)
            if change.rows:
                await asyncio.get_running_loop().run_in_executor(self._writer, self._disk.commit, change)
        except Exception as error:
            log.exception("the state could not be written")
            self._entries |= entries
            self._dirty |= dirty
            for future in waiting:
                if not future.done():
                    future.set_exception(NotDurable(f"the embedded cloud could not write its state: {error}"))
                    future.exception()
            return
        self._services.settled(looked)
        self._s3.settled(change)
        for future in waiting:
            if not future.done():
                future.set_result(None)

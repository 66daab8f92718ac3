"""hypercorn's connections with limits: it has none on their number, none on slow heads, none on unread answers.

And a head leaves in one piece with the beginning of its body: botocore takes a head alone, cut off by a `kill -9`, for
a success without content.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any

from .crowd import Crowd, affordable

CONNECTIONS = 1000  # at once; then whoever has kept us waiting longest makes room for the next
HEAD_SECONDS = 10.0  # to send a complete request head
SEND_SECONDS = 300.0  # for a client that doesn't read its answer
_RECEIVE = 64 * 1024  # bytes read at once; as many of a body count as getting on with it


def guard() -> None:
    """Have hypercorn use connections that know these limits."""
    run: Any = importlib.import_module("hypercorn.asyncio.run")
    run.TCPServer = _guarded(run.TCPServer, Crowd(affordable(CONNECTIONS)))


def _guarded(base: Any, crowd: Crowd) -> Any:
    events: Any = importlib.import_module("hypercorn.events")
    receiving: Any = importlib.import_module("h11").SEND_BODY

    class Connection(base):  # type: ignore[misc]  # hypercorn is not installed where this is checked
        """A `crowd.Guest`."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self._is_idle = True  # between requests
            self._silent_since = time.monotonic()
            self._unread_since: float | None = None
            self._received = 0  # bytes of a body since its last progress
            self._clock: asyncio.TimerHandle | None = None
            self._head = b""  # of an answer, until its body begins

        @property
        def waiting_since(self) -> float | None:
            if self._is_idle:
                return self._silent_since
            if self._unread_since is not None:
                return self._unread_since
            http = getattr(self.protocol.protocol, "connection", None)
            return self._silent_since if getattr(http, "their_state", None) is receiving else None

        def cut(self) -> None:
            self.writer.transport.abort()

        async def run(self) -> None:
            if not crowd.admit(self):
                self.cut()
                return
            try:
                await super().run()
            finally:
                self._stop_clock()
                crowd.leave(self)

        async def protocol_send(self, event: Any) -> None:
            if isinstance(event, events.Updated):
                self._is_idle, self._silent_since, self._received = event.idle, time.monotonic(), 0
                self._stop_clock()
            if isinstance(event, events.RawData):
                data, self._head = self._head + bytes(event.data), b""
                if _is_head(data):
                    self._head = data
                else:
                    await self._write(data)
                return
            if self._head:  # it has no body
                head, self._head = self._head, b""
                await self._write(head)
            await super().protocol_send(event)

        async def _write(self, data: bytes) -> None:
            self._unread_since = time.monotonic()
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await super().protocol_send(events.RawData(data))
            except TimeoutError:
                self.cut()
            finally:
                self._unread_since = None

        async def _read_data(self) -> None:
            while not self.reader.at_eof():
                try:
                    data = await self.reader.read(_RECEIVE)
                except OSError:
                    break
                self._received += len(data)
                if self._received > _RECEIVE:
                    self._silent_since, self._received = time.monotonic(), 0
                if self._is_idle and self._clock is None:
                    self._clock = self.loop.call_later(HEAD_SECONDS, self.cut)
                await self.protocol.handle(events.RawData(data))
            await self.protocol.handle(events.Closed())
            await self.idle_task.stop()  # it would hold on to the connection until it is due

        def _stop_clock(self) -> None:
            if self._clock is not None:
                self._clock.cancel()
                self._clock = None

    return Connection


def _is_head(data: bytes) -> bool:
    """Whether that is the head of a final answer and nothing else."""
    return data.startswith(b"HTTP/1.1 ") and data[9:10] != b"1" and data.find(b"\r\n\r\n") == len(data) - 4

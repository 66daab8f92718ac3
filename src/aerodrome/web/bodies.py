"""Reading request bodies with limits: on time and size when it is small, on silence when it is long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any

from starlette.types import Receive


class TooLarge(Exception):
    """The body is longer than the limit."""


class Incomplete(Exception):
    """The body did not arrive: the client was too slow."""


class ClientGone(Incomplete):
    """The body did not arrive: nobody is there any more to answer."""


def announced(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a body follows the head: without one of these two headers none does (RFC 9112, 6.3)."""
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in headers)


async def read(receive: Receive, size: int, seconds: float) -> bytes:
    """The whole body, at most `size` bytes, within `seconds`, however it trickles.

    Raises:
        TooLarge, Incomplete (ClientGone among it).
    """
    body = bytearray()
    more = True
    try:
        async with asyncio.timeout(seconds):
            while more:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise ClientGone("The client left.")
                body += event.get("body", b"")
                if len(body) > size:
                    raise TooLarge(f"The request body is larger than {size} bytes.")
                more = event.get("more_body", False)
    except TimeoutError as error:
        raise Incomplete(f"The request body did not arrive within {seconds:.0f} seconds.") from error
    return bytes(body)


class Inbound:
    """A request body of any length, which may come slowly but not stop for `idle` seconds; and the client's leaving."""

    def __init__(self, receive: Receive, idle: float, has_body: bool) -> None:
        self._receive = receive
        self._idle = idle
        self._head = bytearray()
        self._complete = asyncio.Event()
        if not has_body:
            self._complete.set()

    @property
    def complete(self) -> bool:
        return self._complete.is_set()

    async def gather(self, size: int) -> None:
        """Wait for the first `size` bytes or the end: who trickles a short body does so at their own expense.

        Raises:
            Incomplete (ClientGone among it).
        """
        while not self.complete and len(self._head) < size:
            self._head += await self._next()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, what was gathered of it first.

        Raises:
            Incomplete (ClientGone among it).
        """
        if self._head:
            yield bytes(self._head)
        while not self.complete:
            if chunk := await self._next():
                yield chunk

    async def serve(self, exchange: Coroutine[Any, Any, None]) -> None:
        """Run the exchange to its end, or until the client hangs up."""
        work = asyncio.ensure_future(exchange)
        hang_up = asyncio.ensure_future(self._hang_up())
        try:
            await asyncio.wait({work, hang_up}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            for task in (work, hang_up):
                task.cancel()
            await asyncio.wait({work, hang_up})
            if not work.cancelled():
                work.exception()  # seen, even when the client left first

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout(self._idle):
                event = await self._receive()
        except TimeoutError as error:
            raise Incomplete(f"The request body stopped coming for {self._idle:.0f} seconds.") from error
        if event["type"] == "http.disconnect":
            raise ClientGone("The client left.")
        if not event.get("more_body", False):
            self._complete.set()
        body: bytes = event.get("body", b"")
        return body

    async def _hang_up(self) -> None:
        """Return when the client is gone."""
        await self._complete.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

"""A real listener in front of an application, and clients who take their time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from starlette.types import ASGIApp

from aerodrome.web.crowd import Crowd
from aerodrome.web.limits import ConnectionLimits
from aerodrome.web.listener import Listener
from aerodrome.web.protocol import Fast, Strict


@asynccontextmanager
async def listening(
    app: ASGIApp, limits: ConnectionLimits, protocol: type[Fast] | type[Strict] = Fast
) -> AsyncIterator[int]:
    """Its port, while it serves as the front door does."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    listener = Listener(app, bound, limits, Crowd(limits.connections), protocol=protocol)
    listener.start()
    try:
        yield listener.port
    finally:
        await listener.stop(0.5)


@dataclass
class Slow:
    """A client that sends what it is told, and reads when it is told."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, data: bytes) -> None:
        with suppress(OSError):
            self.writer.write(data)

    async def answer(self) -> tuple[int, str]:
        """Status and everything after it, to the end of the connection."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1]), (head + await self.reader.read()).decode()

    async def is_cut(self, seconds: float = 5.0) -> bool:
        """Whether the other side closes within that time, having said nothing."""
        try:
            async with asyncio.timeout(seconds):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def leave(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def slow_clients(port: int, count: int, first_words: bytes = b"") -> AsyncIterator[list[Slow]]:
    """That many, each on a connection of its own."""
    clients = [Slow(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(count)]
    for client in clients:
        client.say(first_words)
    try:
        yield clients
    finally:
        for client in clients:
            client.leave()


@asynccontextmanager
async def trickling(clients: list[Slow], every: float, byte: bytes = b"x") -> AsyncIterator[None]:
    """Each sends a byte now and then."""

    async def go_on() -> None:
        while True:
            for client in clients:
                client.say(byte)
            await asyncio.sleep(every)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()

"""Clients that ask one question over and over, each on one connection that is kept, and the time of each answer.

Requests are signed by botocore before the clock runs, and it stops with an answer's last byte, before the client does
anything with it: what is measured is the server, and the same for every server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvloop
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

SIGNED_FOR = 240.0  # seconds that a slice may take; servers refuse signatures older than five minutes
_PATIENCE = 30.0  # seconds for one answer
_WARM_UP = 3  # requests of every connection before its times count


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and who asks it. `endpoint` is `http://HOST:PORT`, `processes` are what answers behind it."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str
    processes: tuple[int, ...] = ()

    def request(self, path: str) -> bytes:
        """A signed GET, as bytes for the wire."""
        request = AWSRequest("GET", self.endpoint + path)
        credentials = Credentials(self.access_key, self.secret_key)
        SigV4Auth(credentials, "airflow", self.region).add_auth(request)
        host = urlsplit(self.endpoint).netloc
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}",
            *(f"{name}: {value}" for name, value in request.headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    seconds: float  # from the request's write to the answer's last byte


def ask(target: Target, path: str, *, clients: int, requests: int) -> list[float]:
    """Seconds of each of `requests` answers, shared out among `clients` that ask at once.

    Raises:
        RuntimeError: an answer that isn't 200.
    """
    return uvloop.run(_ask_all(target, path, clients, requests))


def answer(target: Target, path: str) -> Answer:
    """One answer, whatever it is."""
    return uvloop.run(_answer(target, path))


async def _ask_all(target: Target, path: str, clients: int, requests: int) -> list[float]:
    request = target.request(path)
    share = [requests // clients + (number < requests % clients) for number in range(clients)]
    try:
        async with asyncio.timeout(SIGNED_FOR):
            times = await asyncio.gather(*(_client(target, request, count) for count in share))
    except TimeoutError:
        raise RuntimeError("the round takes longer than its signature is good for; ask for fewer requests") from None
    return [seconds for one in times for seconds in one]


async def _answer(target: Target, path: str) -> Answer:
    connection = await _connect(target)
    try:
        async with asyncio.timeout(_PATIENCE):
            return await connection.exchange(target.request(path))
    finally:
        connection.close()


async def _client(target: Target, request: bytes, count: int) -> Sequence[float]:
    times = []
    connection = await _connect(target)
    try:
        for _ in range(_WARM_UP):
            await connection.exchange(request)
        for _ in range(count):
            if not connection.kept:  # some servers take a thousand requests and close; a new one is not on the clock
                connection = await _connect(target)
            found = await connection.exchange(request)
            times.append(found.seconds)
            if found.status != 200:
                raise RuntimeError(f"answer {found.status}: {found.body[:300]!r}")
    finally:
        connection.close()
    return times


async def _connect(target: Target) -> _Connection:
    parts = urlsplit(target.endpoint)
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(_Connection, parts.hostname or "", parts.port or 80)
    return connection


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._started = 0.0
        self.kept = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's own, of another family

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        seconds = time.perf_counter() - self._started
        self.kept = self._parser.should_keep_alive()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(Answer(self._parser.get_status_code(), bytes(self._body), seconds))
        self._body.clear()

    async def exchange(self, request: bytes) -> Answer:
        assert self._transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self._started = time.perf_counter()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

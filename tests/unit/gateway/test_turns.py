"""Places at the gateway, and how many of them one person can have."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from aerodrome.gateway.ports import Limits, Principal, Session
from support.crowds import slow_clients, trickling

ROOM = 12


@pytest.fixture
def limits() -> Limits:
    return Limits(
        handshake=60, head=60, keep_alive=60, connections=ROOM, upstream_connections=6, per_user=2, pool=0.3, login=5
    )


def sign_in(setup: Any, user: str, credential: str) -> str:
    key = hashlib.sha256(credential.encode()).hexdigest()
    principal = Principal(user, ("Viewer",), f"user/{user}")
    setup.world.held[key] = Session(
        f"s{len(setup.world.held)}", "aaa", principal, setup.world.clock + timedelta(hours=1)
    )
    return credential


@asynccontextmanager
async def log_stream(setup: Any, credential: str) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await setup.client.connect(setup.host)
    writer.write(f"GET /stream HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token={credential}\r\n\r\n".encode())
    await setup.client.head(reader)
    assert await setup.client.chunk(reader) == b'{"n":1}\n'
    try:
        yield reader
    finally:
        writer.transport.abort()


async def test_one_user_has_a_part_of_the_connections_however_often_they_sign_in(setup: Any) -> None:
    ann, again, bob = sign_in(setup, "ann", "1"), sign_in(setup, "ann", "2"), sign_in(setup, "bob", "3")
    async with AsyncExitStack() as stack:
        stream = await stack.enter_async_context(log_stream(setup, ann))
        async with log_stream(setup, again):
            for credential in (ann, again):
                refused = await setup.get("/x", credential)
                assert (refused.status, refused.header("retry-after")) == (429, "5")
                assert "2 requests of this user" in refused.json()["message"]
            assert (await setup.get("/x", bob)).status == 200
        assert (await setup.get("/x", ann)).status == 200  # who hangs up has their turn back
        setup.airflow.go.set()
        assert await setup.client.chunk(stream) == b'{"n":2}\n'


async def test_who_comes_too_many_waits_for_a_turn(setup: Any) -> None:
    ann = sign_in(setup, "ann", "1")
    async with log_stream(setup, ann), log_stream(setup, ann):
        waiting = asyncio.create_task(setup.get("/x", ann))
        asyncio.get_running_loop().call_later(0.1, setup.airflow.go.set)  # the logs end
        assert (await waiting).status == 200


@pytest.mark.parametrize("byte", [b"", b"\x16"], ids=["silence", "trickle"])
async def test_handshakes_without_end_shut_nobody_out(setup: Any, byte: bytes) -> None:
    good = setup.world.sign_in("good")
    async with slow_clients(setup.client.port, 3 * ROOM, byte) as crowd, trickling(crowd, 0.05, byte):
        for _ in range(5):
            assert (await setup.get("/x", good)).status == 200
        assert sum([await client.is_cut(0.01) for client in crowd]) >= ROOM


async def test_heads_without_end_shut_nobody_out(setup: Any) -> None:
    good = setup.world.sign_in("good")
    crowd = [await setup.client.connect(setup.host) for _ in range(3 * ROOM)]
    for _, writer in crowd:
        writer.write(b"GET /x HTTP/1.1\r\nHost: ")
    for _ in range(5):
        assert (await setup.get("/x", good)).status == 200
    for _, writer in crowd:
        writer.transport.abort()

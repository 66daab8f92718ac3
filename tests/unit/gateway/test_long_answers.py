"""An answer that lasts ends with the session that it was asked in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aerodrome.errors import Temporary
from aerodrome.gateway.ports import Limits


@pytest.fixture
def limits() -> Limits:
    return Limits(connect=1.0, recheck=0.05, login=5.0)


async def follow(setup: Any, credential: str, target: str = "/stream") -> tuple[Any, Any]:
    reader, writer = await setup.client.connect(setup.host)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token={credential}\r\n\r\n".encode())
    return reader, writer


async def test_a_log_that_is_followed_is_cut_off_when_the_session_ends(setup: Any) -> None:
    reader, writer = await follow(setup, setup.world.sign_in("c"))
    await setup.client.head(reader)
    assert await setup.client.chunk(reader) == b'{"n":1}\n'
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await reader.read(1)
    await setup.world.end_session("s0")
    async with asyncio.timeout(2):
        assert await reader.read() == b""
    await setup.client.close(writer)


async def test_who_waits_for_an_answer_is_told_that_nobody_is_signed_in(setup: Any) -> None:
    reader, writer = await follow(setup, setup.world.sign_in("c"), "/hang")
    await setup.airflow.entered.wait()
    await setup.world.end_session("s0")
    async with asyncio.timeout(2):
        assert (await setup.client.head(reader)).status == 401
        await setup.airflow.left.wait()
    await setup.client.close(writer)


async def test_a_store_that_is_away_for_a_moment_cuts_nobody_off(setup: Any) -> None:
    reader, writer = await follow(setup, setup.world.sign_in("c"))
    await setup.client.head(reader)
    await setup.client.chunk(reader)
    setup.world.failure = Temporary("away")
    await asyncio.sleep(0.3)
    setup.airflow.go.set()
    async with asyncio.timeout(2):
        assert await setup.client.chunk(reader) == b'{"n":2}\n'
    await setup.client.close(writer)

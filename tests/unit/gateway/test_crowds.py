"""Many at once: those who hold connections must not shut the others out."""

from __future__ import annotations

from typing import Any

import pytest

from aerodrome.gateway.ports import Limits, Redeemed


@pytest.fixture
def limits() -> Limits:
    return Limits(connect=1.0, body_idle=5.0, login=5.0, upstream_connections=1, pool=0.5)


async def test_readers_without_end_keep_nobody_from_signing_in(setup: Any) -> None:
    good = setup.world.sign_in("good")
    reader, writer = await setup.client.connect(setup.host)
    writer.write(f"GET /stream HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token={good}\r\n\r\n".encode())
    await setup.client.head(reader)
    assert await setup.client.chunk(reader) == b'{"n":1}\n'
    assert (await setup.get("/x", good)).status == 503  # the one connection is taken
    setup.world.web_tokens["fresh"] = Redeemed("aaa", "ann", ("Viewer",), "user/ann")
    assert (await setup.client.login(setup.host, "fresh", "/aws_mwaa")).status == 200
    setup.airflow.go.set()
    assert await setup.client.chunk(reader) == b'{"n":2}\n'
    await setup.client.close(writer)

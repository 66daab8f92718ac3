"""The control plane as it is put together for real: who asks much takes nothing from who works."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation
from aerodrome.server.compose import ControlPlane, compose
from aerodrome.settings import Settings
from support.postgres import free_port


@asynccontextmanager
async def composed(postgres_url: str, **facts: Any) -> AsyncIterator[tuple[ControlPlane, Layout]]:
    layout = Layout(Path(tempfile.mkdtemp(prefix="aero-", dir="/tmp")))
    layout.secrets.mkdir()
    layout.master_key.write_bytes(b"k" * 32)
    usual: dict[str, Any] = {"gateway_port": 1, "web_host": "address", **facts}
    installation = Installation(
        id="crowds", account="100000000001", region="us-east-1", front_port=1, postgres_port=1,
        valkey_port=1, cloud_port=1, postgres_password="", valkey_password="", admin_access_key="",
        admin_secret_key="", supervisor_password="", external_postgres_url=postgres_url, **usual,
    )  # fmt: skip
    async with compose(layout, installation, Settings(home=layout.home), {}, {}) as plane:
        yield plane, layout
    shutil.rmtree(layout.home)


@pytest.fixture
async def plane(postgres_url: str) -> AsyncIterator[ControlPlane]:
    async with composed(postgres_url) as (plane, _):
        yield plane


async def test_the_reconciler_has_connections_of_its_own(plane: ControlPlane) -> None:
    pool = plane.tokens._pool
    async with AsyncExitStack() as stack:
        for _ in range(pool.max_size):
            await stack.enter_async_context(pool.connection())
        assert await asyncio.wait_for(plane.loop._reconcile("no such one"), 5) is None


async def test_both_sides_of_the_gateway_are_open_and_the_private_one_to_nobody_unknown(postgres_url: str) -> None:
    public, private = free_port(), free_port()
    facts = {"web_host": "name", "gateway_port": public, "private_port": private, "private_bind": "127.0.0.2"}
    async with composed(postgres_url, **facts) as (_, layout):
        trust = ssl.create_default_context(cafile=str(layout.ca_certificate))
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", public, ssl=trust, server_hostname="localhost")
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b" 404 " in await reader.readline()
            writer.close()
            with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
                await asyncio.open_connection("127.0.0.2", private, ssl=trust, server_hostname="localhost")

"""The control plane as it is put together for real: who asks much takes nothing from who works."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation
from aerodrome.server.compose import ControlPlane, compose
from aerodrome.settings import Settings


@pytest.fixture
async def plane(postgres_url: str) -> AsyncIterator[ControlPlane]:
    layout = Layout(Path(tempfile.mkdtemp(prefix="aero-", dir="/tmp")))
    layout.secrets.mkdir()
    layout.master_key.write_bytes(b"k" * 32)
    installation = Installation(
        id="crowds", account="100000000001", region="us-east-1", front_port=1, gateway_port=1, postgres_port=1,
        valkey_port=1, cloud_port=1, web_host="address", postgres_password="", valkey_password="", admin_access_key="",
        admin_secret_key="", supervisor_password="", external_postgres_url=postgres_url,
    )  # fmt: skip
    async with compose(layout, installation, Settings(home=layout.home), {}, {}) as plane:
        yield plane
    shutil.rmtree(layout.home)


async def test_the_reconciler_has_connections_of_its_own(plane: ControlPlane) -> None:
    pool = plane.tokens._pool
    async with AsyncExitStack() as stack:
        for _ in range(pool.max_size):
            await stack.enter_async_context(pool.connection())
        assert await asyncio.wait_for(plane.loop._reconcile("no such one"), 5) is None

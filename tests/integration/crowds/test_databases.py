"""Strangers, and greedy environments, in front of PostgreSQL and Valkey as the machine room configures them."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import struct
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from psycopg import AsyncConnection

from aerodrome.errors import Temporary
from aerodrome.layout import Layout
from aerodrome.machineroom import postgres, valkey
from aerodrome.machineroom.installation import Installation
from aerodrome.machineroom.users import Owner
from support.crowds import slow_clients
from support.postgres import free_port

CROWD = 350  # more than PostgreSQL takes
OURS = 15  # connections that the control plane may want at once


@pytest.fixture(scope="module")
def layout() -> Iterator[Layout]:
    layout = Layout(Path(tempfile.mkdtemp(prefix="aero-", dir="/tmp")))
    layout.home.chmod(0o755)
    layout.machine.mkdir(mode=0o755)
    yield layout
    shutil.rmtree(layout.home)


@pytest.fixture(scope="module")
def installation() -> Installation:
    return Installation(
        id="crowds", account="100000000001", region="us-east-1", front_port=1, gateway_port=1,
        postgres_port=free_port(), valkey_port=free_port(), cloud_port=1, web_host="address",
        postgres_password="postgres-test-only", valkey_password="valkey-test-only",
        admin_access_key="", admin_secret_key="", supervisor_password="",
    )  # fmt: skip


@pytest.fixture(scope="module")
def owner() -> Owner:
    entry = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    return Owner(entry.pw_uid, entry.pw_gid, entry.pw_name if os.geteuid() == 0 else None)


def started(argv: tuple[str, ...], owner: Owner) -> subprocess.Popen[bytes]:
    switch: dict[str, Any] = {"user": owner.uid, "group": owner.gid, "extra_groups": ()} if owner.name else {}
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *argv],
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **switch,
    )


async def eventually(check: Callable[[], Coroutine[Any, Any, object]], seconds: float) -> None:
    """Wait until it doesn't raise `Temporary` any more."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                await check()
            except Temporary:
                await asyncio.sleep(0.2)
            else:
                return


@pytest.fixture(scope="module")
def postgres_server(layout: Layout, installation: Installation, owner: Owner) -> Iterator[str]:
    process = started(postgres.prepare(layout, installation, owner), owner)
    asyncio.run(eventually(lambda: postgres.check(installation), 30))
    yield f"{installation.postgres_url}/postgres"
    process.send_signal(3)
    process.wait(20)


@pytest.fixture(scope="module")
def valkey_server(layout: Layout, installation: Installation, owner: Owner) -> Iterator[redis.Redis]:
    process = started(valkey.prepare(layout, installation, owner), owner)
    asyncio.run(eventually(lambda: valkey.check(installation), 30))
    with redis.Redis.from_url(installation.valkey_url) as client:
        yield client
    process.kill()
    process.wait(20)


def hello(user: str) -> bytes:
    """A startup packet: then the server waits for a password."""
    body = struct.pack("!i", 196608) + f"user\0{user}\0database\0postgres\0\0".encode()
    return struct.pack("!i", len(body) + 4) + body


async def wanted(url: str) -> None:
    """What the control plane may open at once.

    Raises:
        Temporary: it can't.
    """
    async with AsyncExitStack() as stack:
        try:
            for _ in range(OURS):
                await stack.enter_async_context(await AsyncConnection.connect(url, connect_timeout=5))
        except psycopg.OperationalError as error:
            raise Temporary(str(error)) from error


async def test_strangers_hold_postgres_for_seconds_only(postgres_server: str) -> None:
    async with AsyncExitStack() as stack:
        held = await AsyncConnection.connect(postgres_server)  # what we have, we keep
        stack.push_async_callback(held.close)
        crowd = []
        for words in (hello("aerodrome"), hello("nobody")[:9], b""):
            crowd += await stack.enter_async_context(slow_clients(int(held.info.port), CROWD, words))
        assert (await (await held.execute("SELECT 1")).fetchone()) == (1,)
        await eventually(lambda: wanted(postgres_server), 40)  # the default would be a minute
        async with asyncio.timeout(30):
            await asyncio.gather(*(client.reader.read() for client in crowd), return_exceptions=True)


@asynccontextmanager
async def greedy(url: str, user: str) -> AsyncIterator[int]:
    """Every connection that the role can get; how many that is."""
    async with AsyncExitStack() as stack:
        for count in range(CROWD):
            try:
                connection = await AsyncConnection.connect(url, user=user, password="greedy", connect_timeout=5)
            except psycopg.OperationalError:
                yield count
                return
            stack.push_async_callback(connection.close)
        yield CROWD


async def test_environments_cant_take_the_last_connections(postgres_server: str) -> None:
    async with await AsyncConnection.connect(postgres_server, autocommit=True) as admin:
        await admin.execute("CREATE ROLE greedy LOGIN PASSWORD 'greedy'")
    async with greedy(postgres_server, "greedy") as count:
        assert count > 200
        await wanted(postgres_server)


async def test_strangers_who_say_nothing_to_valkey_are_sent_away(
    valkey_server: redis.Redis, installation: Installation
) -> None:
    """With less room and less patience than configured, so that it takes seconds."""
    assert 0 < int(valkey_server.config_get("timeout")["timeout"]) <= 300
    valkey_server.config_set("maxclients", 100)
    valkey_server.config_set("timeout", 3)
    async with slow_clients(installation.valkey_port, 150):
        with pytest.raises(Temporary, match="max number of clients"):
            await valkey.check(installation)
        await asyncio.sleep(3)
        await eventually(lambda: valkey.check(installation), 20)

"""The control plane's own process, which may open few files, in front of more strangers than that."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation, dump
from support.crowds import slow_clients, trickling
from support.postgres import free_port

FILES = 800  # that the control plane may have open
CROWD = 1000


@pytest.fixture
def served(postgres_url: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Port and process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * CROWD:
        pytest.skip("this many connections take more open files than this machine allows")
    layout, port = Layout(Path(tempfile.mkdtemp(prefix="aero-", dir="/tmp"))), free_port()
    installation = Installation(
        id="crowds", account="100000000001", region="us-east-1", front_port=port, gateway_port=1, postgres_port=1,
        valkey_port=1, cloud_port=1, web_host="address", postgres_password="", valkey_password="", admin_access_key="",
        admin_secret_key="", supervisor_password="", external_postgres_url=postgres_url,
    )  # fmt: skip
    layout.secrets.mkdir()
    layout.master_key.write_bytes(b"k" * 32)
    layout.installation_file.write_text(dump(installation))
    argv = [sys.executable, "-m", "aerodrome.server", "--home", str(layout.home)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
    try:
        process = subprocess.Popen(argv, env={"PATH": os.defpath}, cwd="/", stdout=subprocess.DEVNULL)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        yield port, process
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    process.kill()
    process.wait(10)
    shutil.rmtree(layout.home)


async def answers(port: int) -> bool:
    """Everything that is ours, asked by somebody new."""
    wanted = {"/healthz": 200, "/environments": 403, "/_aerodrome/credentials/0123456789ab": 401}
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client:
            return {path: (await client.get(path)).status_code for path in wanted} == wanted
    except httpx.ConnectError:
        return False


async def test_strangers_shut_nobody_out(served: tuple[int, subprocess.Popen[bytes]]) -> None:
    port, process = served
    async with asyncio.timeout(30):
        while not await answers(port):
            assert process.poll() is None
            await asyncio.sleep(0.2)
    for words in (b"", b"GET / HTTP/1.1\r\nX-A: "):
        async with slow_clients(port, CROWD, words) as crowd, trickling(crowd, 1.0, words[:1]):
            for _ in range(3):
                assert await answers(port)
            if words:
                process.terminate()
                assert await asyncio.to_thread(process.wait, 20) == 0

"""An installation that was made but isn't up."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette

from aerodrome.cli import account
from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation, dump

NETWORK = {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}


@pytest.fixture(autouse=True)
def no_ec2(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default network is EC2's to tell: tests/integration/cloud asks the real one."""
    monkeypatch.setattr(account, "network", lambda connection: NETWORK)


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    made = Installation(
        id="abc123",
        account="100000000001",
        region="us-east-1",
        front_port=closed,
        gateway_port=8443,
        postgres_port=4611,
        valkey_port=4612,
        cloud_port=4613,
        web_host="address",
        postgres_password="p",
        valkey_password="v",
        admin_access_key="AKIATEST",
        admin_secret_key="secret",
        supervisor_password="s",
    )
    layout = Layout(tmp_path / "home")
    layout.home.mkdir()
    layout.installation_file.write_text(dump(made))
    monkeypatch.setenv("AERODROME_HOME", str(layout.home))
    return made


@pytest.fixture
def serve_app() -> Iterator[Callable[..., int]]:
    """Starts an app on 127.0.0.1, over TLS when a certificate file (with its key) is given; returns the port."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def serve_app(app: Starlette, port: int = 0, certificate: Path | None = None) -> int:
        listener = socket.create_server(("127.0.0.1", port))
        config = uvicorn.Config(app, log_level="error", lifespan="off", ws="none", ssl_certfile=certificate)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        running.append((server, thread))
        while not server.started and thread.is_alive():
            time.sleep(0.005)
        return int(listener.getsockname()[1])

    yield serve_app
    for server, thread in running:
        server.should_exit = True
        thread.join()

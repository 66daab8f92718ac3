"""An installation that was made but isn't up."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation, dump


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

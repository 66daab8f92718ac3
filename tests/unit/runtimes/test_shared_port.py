from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from aerodrome_airflow import shared_port
from support.postgres import free_port

HOST = "127.0.0.1"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[socket.socket]]:
    """The sockets that a server was run with."""
    found: list[list[socket.socket]] = []

    def run(server: Any, sockets: list[socket.socket] | None = None) -> None:
        found.append(sockets or [])

    monkeypatch.setattr(uvicorn.Server, "run", run)
    return found


def start(port: int) -> None:
    uvicorn.Server.run(SimpleNamespace(config=SimpleNamespace(host=HOST, port=port)))  # type: ignore[arg-type]


def ports(sockets: list[socket.socket]) -> list[int]:
    return [each.getsockname()[1] for each in sockets]


def test_two_servers_have_ports_of_their_own_and_share_one(
    ran: list[list[socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, shared = free_port(), free_port(), free_port()
    monkeypatch.setenv(shared_port.VARIABLE, str(shared))
    shared_port.install()
    start(old)
    start(new)
    try:
        assert [ports(each) for each in ran] == [[old, shared], [new, shared]]
        for bound in (each for pair in ran for each in pair):
            bound.listen()
        first, second = ran
        first[1].close()
        with socket.create_connection((HOST, shared), timeout=5):
            assert second[1].accept()[0].close() is None, "the one that is left answers"
    finally:
        for bound in (each for pair in ran for each in pair):
            bound.close()


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_of_its_own_is_nobody_elses(shared: bool) -> None:
    port = free_port()
    with shared_port.listen(HOST, port, shared=False) as own:
        own.listen()
        with pytest.raises(OSError, match="in use"):
            shared_port.listen(HOST, port, shared=shared)


def test_without_one_nothing_changes(ran: list[list[socket.socket]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(shared_port.VARIABLE, raising=False)
    shared_port.install()
    start(free_port())
    assert ran == [[]]

"""Ports that somebody else took while the installation was down."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from support.house import House
from support.stores import Stores

FIELDS = ("front_port", "gateway_port", "postgres_port", "valkey_port", "cloud_port")


@contextmanager
def thief(*ports: int) -> Iterator[None]:
    with ExitStack() as stack:
        for port in ports:
            taken = stack.enter_context(socket.socket())
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", port))
            taken.listen(1)
        yield


def test_ports_stolen_between_two_runs(house: House) -> None:
    house.run("up", "--detach")
    stores = Stores(house)
    assert stores.write("before") == {"postgres", "valkey", "s3"}
    first = house.installation
    house.run("down", "--now")

    with thief(*(getattr(first, field) for field in FIELDS)):
        output = house.run("up", "--detach")
        second = house.installation
        assert not {getattr(first, field) for field in FIELDS} & {getattr(second, field) for field in FIELDS}
        assert f"Port {first.front_port} is taken by process" in output
        assert stores.lost() == {}
        assert stores.write("meanwhile") == {"postgres", "valkey", "s3"}
        house.run("down", "--now")

    # Environments carry the gateway's port in their addresses: it doesn't move, and who has it is named.
    (house.layout.environments / "0123456789ab").mkdir()
    with thief(second.gateway_port):
        output = house.run("up", "--detach", code=1)
        assert f"Port {second.gateway_port}, which the web server addresses of existing environments carry" in output
        assert "Stop that process and run `aerodrome up` again." in output
    house.run("up", "--detach")
    assert house.installation == second
    assert stores.lost() == {}

"""Ports that somebody else took while the installation was down."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from support.house import House, eventually, kill_and_wait, stopped
from support.stores import Stores

FIELDS = ("front_port", "gateway_port", "postgres_port", "valkey_port", "cloud_port")


def _takes(taken: socket.socket, port: int) -> bool:
    """False while the last thread of a process that had the port ends."""
    with suppress(OSError):
        taken.bind(("127.0.0.1", port))
        taken.listen(1)
        return True
    return False


@contextmanager
def thief(*ports: int) -> Iterator[None]:
    with ExitStack() as stack:
        for port in ports:
            taken = stack.enter_context(socket.socket())
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            eventually(partial(_takes, taken, port), f"port {port} is free")
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


def test_a_port_that_is_free_again_while_another_is_chosen(house: House, tmp_path: Path) -> None:
    """Supervisor keeps trying to start a program whose port is taken; it must not succeed on the port of last time."""
    house.run("up", "--detach")
    stores = Stores(house)
    assert stores.write("before") == {"postgres", "valkey", "s3"}
    first = house.installation
    valkey = int(house.programs()["valkey"]["pid"])
    with ExitStack() as stack:
        with stopped(house.supervisor_pid()):  # else Valkey would have its port again before we take it
            kill_and_wait(valkey)
            stack.enter_context(thief(first.valkey_port))
        eventually(lambda: bool(house.programs()["valkey"]["phase"] == "backoff"), "Valkey waits for its next start")
        house.variables["AERODROME_TEST_PAUSE"] = str(tmp_path)
        process = house.start("up", "--detach")
        eventually((tmp_path / "chosen").exists, "ports are chosen")
    time.sleep(5)  # Supervisor tries again every few seconds
    (tmp_path / "go").touch()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert house.installation.valkey_port != first.valkey_port
    assert stores.lost() == {}

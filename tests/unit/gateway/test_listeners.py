"""Listeners come and go with routes: both host modes, certificates, ports, closing."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aerodrome.domain.web_server import Side
from aerodrome.errors import Temporary
from aerodrome.gateway.gateway import Gateway
from aerodrome.gateway.ports import Backstage, Limits
from aerodrome.layout import Layout
from aerodrome.pki import Served, issue


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def make(layout: Layout, limits: Limits, setup: Any) -> AsyncIterator[Callable[..., Gateway]]:
    """Gateways in `address` mode on one free port."""
    made: list[Gateway] = []
    backstage = Backstage(
        tokens=setup.world, sessions=setup.world, environments=setup.world, now=setup.world.now, limits=limits
    )

    def build(port: int, certificate: Any = None) -> Gateway:
        made.append(
            Gateway(port=port, bind=None, certificate=certificate or partial(issue, layout), backstage=backstage)
        )
        return made[-1]

    yield build
    for each in made:
        await each.stop(grace=0.5)


def by_address(setup: Any, port: int, environment_id: str, address: str) -> Any:
    return replace(setup.routes[environment_id], host=f"{address}:{port}", address=address)


def listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


async def test_one_address_per_environment(setup: Any, make: Any) -> None:
    port = free_port()
    gateway = make(port)
    setup.client.port = port
    await gateway.start()
    routes = {each: by_address(setup, port, each, at) for each, at in (("aaa", "127.83.1.1"), ("bbb", "127.83.1.2"))}
    await gateway.sync(routes.values())
    good, other = setup.world.sign_in("good"), setup.world.sign_in("other", "bbb")
    for environment_id, credential in (("aaa", good), ("bbb", other)):
        address = routes[environment_id].address
        answer = await setup.get("/x", credential, host=f"{address}:{port}", address=address)
        assert (answer.status, answer.json()["who"]) == (200, environment_id)
    crossed = await setup.get("/x", good, host=f"127.83.1.2:{port}", address="127.83.1.2")
    assert crossed.status == 401

    await gateway.remove("aaa")
    await gateway.remove("aaa")
    assert not listens("127.83.1.1", port)
    assert listens("127.83.1.2", port)
    await gateway.sync([])
    assert not listens("127.83.1.2", port)
    assert gateway.routes == {}


async def test_the_certificate_carries_name_and_address(setup: Any, make: Any) -> None:
    port = free_port()
    gateway = make(port)
    setup.client.port = port
    route = by_address(setup, port, "aaa", "127.83.1.3")
    await gateway.add(replace(route, aliases=("aaa.us-east-1.airflow.localhost",)))
    good = setup.world.sign_in("good")
    for host in ("127.83.1.3", "aaa.us-east-1.airflow.localhost"):
        assert (await setup.get("/x", good, host=f"{host}:{port}", address="127.83.1.3")).status == 200


async def test_sni_picks_the_certificate_on_the_shared_listener(setup: Any, trust: ssl.SSLContext) -> None:
    for name in ("aaa.us-east-1.airflow.localhost", "bbb.us-east-1.airflow.localhost", "localhost"):
        _, writer = await setup.client.connect(name)  # the client checks the name
        await setup.client.close(writer)
    with pytest.raises(ssl.SSLCertVerificationError):
        await setup.client.connect("ccc.us-east-1.airflow.localhost")
    await setup.gateway.remove("bbb")
    with pytest.raises(ssl.SSLCertVerificationError):
        await setup.client.connect("bbb.us-east-1.airflow.localhost")


async def test_sync_repairs_routes_without_a_restart(setup: Any, route: Any) -> None:
    good = setup.world.sign_in("good")
    reader, writer = await setup.client.connect(setup.host)
    moved = route("aaa", [setup.airflows["bbb"].address])
    await setup.gateway.sync([moved, route("ccc", [])])
    assert set(setup.gateway.routes) == {"aaa", "ccc"}
    async with asyncio.timeout(5):  # the connection made before still serves, by the new route
        writer.write(f"GET /x HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token={good}\r\n\r\n".encode())
        assert (await setup.client.read(reader)).json()["who"] == "bbb"
        writer.write(f"GET /x HTTP/1.1\r\nHost: {setup.other_host}\r\n\r\n".encode())
        assert (await setup.client.read(reader)).status == 404
    await setup.client.close(writer)
    await setup.gateway.sync([moved, route("ccc", [])])
    await setup.gateway.start()
    assert (await setup.get("/x", good)).status == 200


async def test_a_renewed_certificate_is_served_without_a_restart(setup: Any, make: Any, layout: Layout) -> None:
    issued: list[Path] = []

    def certificate(names: Any, addresses: Any) -> Served:
        paths = issue(layout, names, addresses)
        issued.append(paths[0])
        return paths

    async def serial() -> str:
        _, writer = await setup.client.connect("127.83.1.4", "127.83.1.4")
        number = writer.get_extra_info("peercert")["serialNumber"]
        await setup.client.close(writer)
        return str(number)

    port = free_port()
    gateway = make(port, certificate)
    setup.client.port = port
    route = by_address(setup, port, "aaa", "127.83.1.4")
    await gateway.add(route)
    first = await serial()
    await gateway.add(route)
    assert await serial() == first
    issued[-1].unlink()
    await gateway.sync([route])
    assert await serial() != first


async def test_a_taken_port_is_temporary_and_says_what_to_do(setup: Any, make: Any) -> None:
    port = free_port()
    gateway = make(port)
    taken, fine = by_address(setup, port, "aaa", "127.83.1.5"), by_address(setup, port, "bbb", "127.83.1.6")
    with socket.socket() as holder:
        holder.bind(("127.83.1.5", port))
        holder.listen()
        with pytest.raises(Temporary, match=rf"127\.83\.1\.5:{port}: Address already in use.*AERODROME_GATEWAY_PORT"):
            await gateway.add(taken)
        with pytest.raises(Temporary, match="env-aaa"):
            await gateway.sync([taken, fine])
        assert set(gateway.routes) == {"bbb"}
    await gateway.sync([taken, fine])
    assert set(gateway.routes) == {"aaa", "bbb"}


async def test_a_certificate_that_cant_be_read_is_temporary(setup: Any, make: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.pem").write_text("nonsense")
    for name in ("broken.pem", "missing.pem"):
        gateway = make(free_port(), lambda *_, name=name: (tmp_path / name, tmp_path / name, b""))
        with pytest.raises(Temporary, match="certificate for aaa"):
            await gateway.add(setup.routes["aaa"])
        assert gateway.routes == {}


async def test_stopping_lets_an_answer_end_and_frees_the_port(setup: Any) -> None:
    good = setup.world.sign_in("good")
    port = setup.client.port
    reader, writer = await setup.client.connect(setup.host)
    writer.write(f"GET /stream HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token={good}\r\n\r\n".encode())
    async with asyncio.timeout(5):
        await setup.client.head(reader)
        stopping = asyncio.create_task(setup.gateway.stop(grace=3))
        await setup.client.chunk(reader)
        setup.airflow.go.set()
        assert await setup.client.chunk(reader) == b'{"n":2}\n'
        assert await setup.client.chunk(reader) == b""
        await stopping
    await setup.client.close(writer)
    assert not listens("127.0.0.1", port)


async def test_stopping_cuts_what_does_not_end(setup: Any) -> None:
    good = setup.world.sign_in("good")
    _, writer = await setup.client.connect(setup.host)
    writer.write(f"GET /hang HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token={good}\r\n\r\n".encode())
    async with asyncio.timeout(5):
        await setup.airflow.entered.wait()
        await setup.gateway.stop(grace=0.1)
        await setup.airflow.left.wait()
    await setup.client.close(writer)


async def test_answers_are_sent_without_delay(setup: Any) -> None:
    _, writer = await setup.client.connect(setup.host)
    [listener] = setup.gateway._entrances[Side.PUBLIC]._listeners._by_address.values()
    async with asyncio.timeout(5):
        while not listener.connections:
            await asyncio.to_thread(os.sched_yield)
    [connection] = listener._state.connections
    accepted = connection.transport.get_extra_info("socket")
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    await setup.client.close(writer)


async def test_nothing_is_left_behind(setup: Any) -> None:
    before = len(os.listdir("/proc/self/fd"))
    good = setup.world.sign_in("good")
    for _ in range(20):
        assert (await setup.get("/x", good)).status == 200
        assert (await setup.get("/x")).status == 401
    await setup.gateway.app.upstreams.stop()
    async with asyncio.timeout(5):
        while len(os.listdir("/proc/self/fd")) > before:
            await asyncio.to_thread(os.sched_yield)  # the last sockets close in the loop's next turns

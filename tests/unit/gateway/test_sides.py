"""The public and the private side: who answers where, whom security groups let in, and what TLS refuses."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from aerodrome.domain.web_server import Side
from aerodrome.gateway.gateway import Gateway
from aerodrome.gateway.ports import Backstage, Limits, Opening, Route
from aerodrome.gateway.tls import server_context
from aerodrome.layout import Layout
from aerodrome.pki import Certificates, issue
from support.homes import home_with_key
from support.pairs import write_plain

from .test_listeners import free_port, listens

HERE = "127.0.0.1"
CLOSED = (ConnectionResetError, ssl.SSLEOFError)


@dataclass
class Groups:
    """A gate: environment id -> clients that are let in."""

    let_in: dict[str, set[str]] = field(default_factory=dict)

    def admits(self, environment_id: str, client: str) -> bool:
        return client in self.let_in.get(environment_id, ())

    def groups(self, environment_id: str) -> tuple[str, ...]:
        return (f"sg-of-{environment_id}",)


@pytest.fixture
def groups() -> Groups:
    return Groups({"aaa": {HERE, "127.0.0.2"}, "bbb": {"127.0.0.3"}})


@pytest.fixture
async def make(layout: Layout, limits: Limits, setup: Any, groups: Groups) -> AsyncIterator[Callable[..., Gateway]]:
    made: list[Gateway] = []
    world = setup.world
    backstage = Backstage(tokens=world, sessions=world, environments=world, now=world.now, limits=limits)

    def build(port: int, bind: str | None, certificate: Any = None) -> Gateway:
        made.append(
            Gateway(
                port=port,
                bind=bind,
                certificate=certificate or partial(issue, layout),
                backstage=backstage,
                private=Opening(port, bind, groups),
            )
        )
        return made[-1]

    yield build
    for each in made:
        await each.stop(grace=0.5)


@pytest.fixture
async def named(setup: Any, make: Any) -> Gateway:
    """Both sides with a listener for all names, aaa public and private, bbb private."""
    gateway: Gateway = make(0, HERE)
    await gateway.start()
    public = setup.routes["aaa"]
    await gateway.sync([public, private(public), private(setup.routes["bbb"])])
    return gateway


def private(route: Route) -> Route:
    name, _, rest = route.host.partition(".")
    return replace(route, side=Side.PRIVATE, host=f"{name}-vpce.{rest}", base_host=route.host)


async def ask(
    trust: ssl.SSLContext,
    port: int,
    host: str,
    *,
    sni: str | None = None,
    source: str = HERE,
    address: str = HERE,
    cookie: str = "",
    target: str = "/x",
) -> bytes:
    """The whole answer to a GET from a loopback address of our choice; empty: closed without one."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(
            address, port, ssl=trust, server_hostname=sni or host.partition(":")[0], local_addr=(source, 0)
        )
        writer.write(
            f"GET {target} HTTP/1.1\r\nHost: {host}\r\nCookie: _token={cookie}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = await reader.read()
        writer.close()
        return answer


def status(answer: bytes) -> int:
    return int(answer.split()[1])


async def test_a_host_answers_on_its_side_alone(setup: Any, named: Gateway, trust: ssl.SSLContext) -> None:
    good = setup.world.sign_in("good")
    public, hidden = setup.routes["aaa"].host, private(setup.routes["aaa"]).host
    ports = {side: named.port(HERE, side) for side in Side}
    assert status(await ask(trust, ports[Side.PUBLIC], public, cookie=good)) == 200
    assert status(await ask(trust, ports[Side.PRIVATE], hidden, cookie=good)) == 200
    for host, side in ((hidden, Side.PUBLIC), (public, Side.PRIVATE), (setup.routes["bbb"].host, Side.PUBLIC)):
        with pytest.raises(ssl.SSLCertVerificationError):
            await ask(trust, ports[side], host)
        assert status(await ask(trust, ports[side], host, sni="localhost")) == 404


async def test_another_mode_opens_and_closes_without_disturbing_the_other_side(
    setup: Any, named: Gateway, trust: ssl.SSLContext
) -> None:
    good, aaa = setup.world.sign_in("good"), setup.routes["aaa"]
    await named.remove("aaa", Side.PUBLIC)
    assert [route.side for route in named.routes["aaa"]] == [Side.PRIVATE]
    assert status(await ask(trust, named.port(HERE), aaa.host, sni="localhost")) == 404
    assert status(await ask(trust, named.port(HERE, Side.PRIVATE), private(aaa).host, cookie=good)) == 200
    await named.add(aaa)
    await named.remove("aaa", Side.PRIVATE)
    assert status(await ask(trust, named.port(HERE), aaa.host, cookie=good)) == 200
    await named.remove("aaa")
    assert set(named.routes) == {"bbb"}


async def test_sides_with_addresses_of_their_own(setup: Any, make: Any, groups: Groups, trust: ssl.SSLContext) -> None:
    port = free_port()
    gateway = make(port, None)
    aaa = replace(setup.routes["aaa"], host=f"127.83.2.1:{port}", address="127.83.2.1")
    inside = replace(aaa, side=Side.PRIVATE, host=f"127.84.2.1:{port}", address="127.84.2.1")
    bbb = replace(setup.routes["bbb"], host=f"127.83.2.2:{port}", address="127.83.2.2")
    await gateway.add(inside)
    await gateway.add(bbb)
    assert not listens("127.83.2.1", port)
    good = setup.world.sign_in("good")
    assert status(await ask(trust, port, inside.host, address="127.84.2.1", cookie=good)) == 200
    with pytest.raises(CLOSED):  # before TLS: this listener is one environment's
        await ask(trust, port, inside.host, address="127.84.2.1", source="127.0.0.9")
    await gateway.add(aaa)
    await gateway.remove("aaa", Side.PRIVATE)
    assert not listens("127.84.2.1", port)
    assert status(await ask(trust, port, aaa.host, address="127.83.2.1", cookie=good)) == 200
    crossed = await ask(trust, port, aaa.host, sni="127.83.2.2", address="127.83.2.2", cookie=good)
    assert status(crossed) == 421, "another environment's address"


async def test_security_groups_let_in_by_the_clients_address(
    setup: Any, named: Gateway, trust: ssl.SSLContext, groups: Groups, caplog: pytest.LogCaptureFixture
) -> None:
    good, port = setup.world.sign_in("good"), named.port(HERE, Side.PRIVATE)
    host, other = private(setup.routes["aaa"]).host, private(setup.routes["bbb"]).host
    assert status(await ask(trust, port, host, source="127.0.0.2", cookie=good)) == 200
    refused = await ask(trust, port, host, source="127.0.0.3", cookie=good)
    assert status(refused) == 403
    assert b"sg-of-aaa" in refused
    assert status(await ask(trust, port, other, source="127.0.0.2")) == 403
    assert status(await ask(trust, port, other, source="127.0.0.3")) == 401, "let in, not signed in"
    for _ in range(3):
        with pytest.raises(CLOSED):
            await ask(trust, port, host, source="127.0.0.9", cookie=good)
    told = [record.getMessage() for record in caplog.records if "127.0.0.9" in record.getMessage()]
    assert len(told) == 1, "a crowd of refused clients doesn't fill the log"
    public = await ask(trust, named.port(HERE), setup.routes["aaa"].host, source="127.0.0.9", cookie=good)
    assert status(public) == 200, "groups guard the private side"


async def test_rules_that_change_hold_for_connections_that_are_open(
    setup: Any, named: Gateway, trust: ssl.SSLContext, groups: Groups
) -> None:
    good, host = setup.world.sign_in("good"), private(setup.routes["aaa"]).host
    reader, writer = await asyncio.open_connection(
        HERE, named.port(HERE, Side.PRIVATE), ssl=trust, server_hostname=host.partition(":")[0]
    )
    request = f"GET /x HTTP/1.1\r\nHost: {host}\r\nCookie: _token={good}\r\n\r\n".encode()
    async with asyncio.timeout(5):
        writer.write(request)
        assert (await setup.client.read(reader)).status == 200
        groups.let_in["aaa"] = set()
        writer.write(request)
        assert (await setup.client.read(reader)).status == 403
        assert await reader.read() == b"", "and closed"
    writer.close()


async def test_a_name_in_tls_that_is_not_the_requests_host_is_421(
    setup: Any, named: Gateway, trust: ssl.SSLContext, route: Any
) -> None:
    await named.add(route("bbb", [setup.airflows["bbb"].address]))
    good, port = setup.world.sign_in("good"), named.port(HERE)
    own, other = setup.host, setup.other_host
    answer = await ask(trust, port, own, sni=other.partition(":")[0], cookie=good)
    assert status(answer) == 421
    assert b"connection: close" in answer.lower()
    assert status(await ask(trust, port, own.upper(), sni=own.partition(":")[0], cookie=good)) == 200
    anonymous = ssl.create_default_context()
    anonymous.check_hostname, anonymous.verify_mode = False, ssl.CERT_NONE
    without = await ask(anonymous, port, own, sni=HERE, cookie=good)  # an address is no name: none is sent
    assert status(without) == 200


def client(**options: Any) -> ssl.SSLContext:
    """One that trusts anybody and speaks whatever OpenSSL still can."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(f"{options.pop('ciphers', 'ALL')}:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for name, value in options.items():
            setattr(context, name, value)
    return context


OLD = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]
WEAK = [
    *({"minimum_version": version, "maximum_version": version} for version in OLD),
    # Without authentication of what is encrypted: encrypt, then MAC, as attacked by Lucky Thirteen.
    {"maximum_version": ssl.TLSVersion.TLSv1_2, "ciphers": "ECDHE-ECDSA-AES128-SHA256"},
    {"maximum_version": ssl.TLSVersion.TLSv1_2, "ciphers": "ECDHE-ECDSA-AES256-SHA"},
]


def handshake(server: ssl.SSLContext, with_: ssl.SSLContext) -> str:
    """The version that the two agree on."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = with_.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)
    for end in ends * 3:
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return ends[0].version() or ""


@pytest.mark.parametrize("options", WEAK, ids=str)
async def test_old_versions_and_weak_ciphers_are_refused(
    named: Gateway, layout: Layout, options: dict[str, Any]
) -> None:
    served = issue(layout, ["localhost"])
    ours = server_context()
    ours.load_cert_chain(*served)
    with pytest.raises(ssl.SSLError, match=r"(?i)unsupported.protocol|no.shared.cipher|version"):
        handshake(ours, client(**options))
    for side in Side:
        with pytest.raises((*CLOSED, ssl.SSLError)):
            await asyncio.open_connection(HERE, named.port(HERE, side), ssl=client(**options), server_hostname="a")
    lax = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    lax.load_cert_chain(*served)
    lax.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        lax.minimum_version = ssl.TLSVersion.TLSv1
    assert handshake(lax, client(**options)), "the client could"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_what_is_left_has_forward_secrecy_and_no_tickets(
    named: Gateway, version: ssl.TLSVersion, trust: ssl.SSLContext
) -> None:
    trust.minimum_version = trust.maximum_version = version
    reader, writer = await asyncio.open_connection(HERE, named.port(HERE), ssl=trust, server_hostname="localhost")
    tls = writer.get_extra_info("ssl_object")
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert await reader.read(), "tickets of TLS 1.3 would come with the answer"
    assert tls.cipher()[0].startswith(("ECDHE-", "TLS_"))
    assert tls.session is None or not tls.session.has_ticket
    writer.close()


async def test_every_answer_carries_the_headers_that_guard_a_browser(setup: Any) -> None:
    good = setup.world.sign_in("good")
    for answer in (await setup.get("/x", good), await setup.get("/x"), await setup.get("/x", host="localhost")):
        assert answer.all("strict-transport-security") == ["max-age=31536000"]
        assert answer.all("x-content-type-options") == ["nosniff"]
        assert answer.all("x-frame-options")[0] in ("SAMEORIGIN", "DENY")
        assert answer.all("referrer-policy")[0] in ("same-origin", "no-referrer")


async def test_airflows_own_host_in_a_redirection_becomes_the_one_that_was_asked_for(
    setup: Any, named: Gateway, trust: ssl.SSLContext
) -> None:
    async def moved(record: Any, receive: Any, send: Any) -> None:
        await setup.airflow.reply(send, 302, b"", [(b"location", f"https://{setup.host}/auth/logout?next=x".encode())])

    setup.airflow.do_moved = moved
    good, hidden = setup.world.sign_in("good"), private(setup.routes["aaa"]).host
    for host, side in ((setup.host, Side.PUBLIC), (hidden, Side.PRIVATE)):
        answer = await ask(trust, named.port(HERE, side), host, cookie=good, target="/moved")
        assert f"location: https://{host}/auth/logout?next=x".encode() in answer


async def serial(port: int, name: str) -> int:
    """Of the certificate that a name is answered with, whoever signed it, whenever it is valid."""
    async with asyncio.timeout(10):
        _, writer = await asyncio.open_connection(HERE, port, ssl=client(), server_hostname=name)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(der).serial_number


async def test_certificates_are_renewed_while_it_runs(setup: Any, make: Any, tmp_path: Path) -> None:
    """What the control plane does every ten minutes for shared listeners, and with every pass for a route."""
    clock = [datetime.now(UTC)]
    gateway = make(0, HERE, Certificates(home_with_key(tmp_path), None, None, lambda: clock[0]))
    await gateway.start()
    public = setup.routes["aaa"]
    await gateway.add(public, private(public))
    places = [(gateway.port(HERE, side), name) for side in Side for name in ("localhost",)]
    places += [(gateway.port(HERE), public.host), (gateway.port(HERE, Side.PRIVATE), private(public).host)]

    async def served() -> list[int]:
        return [await serial(port, host.partition(":")[0]) for port, host in places]

    first = await served()
    reader, writer = await asyncio.open_connection(HERE, places[0][0], ssl=client(), server_hostname="localhost")
    clock[0] += timedelta(days=360)
    await gateway.start()
    await gateway.add(public, private(public))
    assert await served() == first
    clock[0] += timedelta(days=8)
    await gateway.start()
    await gateway.add(public, private(public))
    assert not set(first) & set(await served())
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await setup.client.read(reader)).status == 404, "an open connection goes on"
    writer.close()


async def test_your_own_certificate_is_served_and_exchanged_while_it_runs(
    setup: Any, make: Any, tmp_path: Path
) -> None:
    public = setup.routes["aaa"]
    name, elsewhere, own = public.host.partition(":")[0], home_with_key(tmp_path / "elsewhere"), tmp_path / "own.pem"

    def another() -> int:
        for path in elsewhere.pki.glob("issued/*"):
            path.unlink()
        write_plain(issue(elsewhere, [f"*.{name.partition('.')[2]}"]), own)
        return x509.load_pem_x509_certificate(own.read_bytes()).serial_number

    first, layout = another(), home_with_key(tmp_path / "home")
    gateway = make(0, HERE, Certificates(layout, own, None))
    await gateway.start()
    await gateway.add(public, private(public))
    port, hidden = gateway.port(HERE), gateway.port(HERE, Side.PRIVATE)
    assert await serial(port, name) == await serial(hidden, private(public).host.partition(":")[0]) == first
    assert await serial(port, "localhost") != first, "it isn't for that"
    second = another()
    await gateway.add(public)
    assert await serial(port, name) == second
    own.write_text("torn")
    await gateway.add(public)
    assert await serial(port, name) == second

import json
import socket
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.machineroom import hosts, installation, postgres, prepare
from aerodrome.machineroom.prepare import Wanted
from support.homes import home_with_key
from support.postgres import free_port

WANTED = Wanted(account="100000000001", region="us-east-1", web_host="address")
EXTERNAL = "postgresql://boss:secret@db.example.org:5432"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return home_with_key(tmp_path)


async def test_the_first_time_makes_an_installation_that_is_private(layout: Layout) -> None:
    made = (await prepare.prepare(layout, WANTED)).installation
    assert layout.installation_file.stat().st_mode & 0o777 == 0o600
    assert installation.load(layout) == made
    assert len(made.id) == 6
    assert made.id.isalnum()
    assert made.id.islower()
    assert made.id[0].isalpha()
    assert made.admin_access_key.startswith("AKIA")
    assert len(made.admin_access_key) == 20
    assert len({made.postgres_password, made.valkey_password, made.admin_secret_key, made.supervisor_password}) == 4


async def test_it_is_never_made_again(layout: Layout) -> None:
    # Ports that nobody usually takes: the usual ones may be taken by another installation in between.
    names = ("port", "gateway_port", "postgres_port", "valkey_port", "cloud_port")
    wanted = replace(WANTED, **{name: free_port() for name in names})  # type: ignore[arg-type]
    first = (await prepare.prepare(layout, wanted)).installation
    before = layout.installation_file.stat().st_mtime_ns, layout.installation_file.stat().st_ino
    assert (await prepare.prepare(layout, wanted)).installation == first
    assert (layout.installation_file.stat().st_mtime_ns, layout.installation_file.stat().st_ino) == before


async def test_where_callers_come_from_is_remembered_until_it_is_said_anew(layout: Layout) -> None:
    found = []
    for identity in (None, "table", None, "embedded", None):
        found.append((await prepare.prepare(layout, replace(WANTED, identity=identity))).installation.identity)
        assert installation.load(layout).identity == found[-1]
    assert found == ["embedded", "table", "table", "embedded", "embedded"]


async def test_two_installations_differ(tmp_path: Path) -> None:
    layouts = [home_with_key(tmp_path / name) for name in ("a", "b")]
    one, two = [(await prepare.prepare(layout, WANTED)).installation for layout in layouts]
    assert one.id != two.id
    assert one.postgres_password != two.postgres_password


async def test_a_damaged_record_is_never_replaced(layout: Layout) -> None:
    layout.installation_file.write_text("{")
    with pytest.raises(Permanent, match="damaged"):
        await prepare.prepare(layout, WANTED)
    assert layout.installation_file.read_text() == "{"


async def test_a_record_of_another_version_is_refused(layout: Layout) -> None:
    layout.installation_file.write_text('{"id": "abcdef"}')
    with pytest.raises(Permanent, match="doesn't suit this version"):
        await prepare.prepare(layout, WANTED)


async def test_a_port_that_was_lost_moves_and_is_written_down(layout: Layout) -> None:
    first = (await prepare.prepare(layout, WANTED)).installation
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        port = server.getsockname()[1]
        layout.installation_file.write_text(installation.dump(replace(first, front_port=port)))
        again = await prepare.prepare(layout, WANTED)
    assert again.installation.front_port != port
    assert any(str(port) in notice for notice in again.notices)
    assert installation.load(layout).front_port == again.installation.front_port


async def test_the_gateway_stays_where_environments_say_it_is(layout: Layout) -> None:
    first = (await prepare.prepare(layout, WANTED)).installation
    (layout.environments / "0123456789ab").mkdir(parents=True)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        port = server.getsockname()[1]
        layout.installation_file.write_text(installation.dump(replace(first, gateway_port=port)))
        with pytest.raises(Permanent, match=rf"Port {port}, which the web server addresses.*process \d+"):
            await prepare.prepare(layout, WANTED)
        kept = await prepare.prepare(layout, WANTED, running=["gateway_port"])
        assert kept.installation.gateway_port == port
    with pytest.raises(Permanent, match="carry port"):
        await prepare.prepare(layout, replace(WANTED, gateway_port=port + 1))


async def test_the_gateway_moves_once_all_environments_are_gone(layout: Layout) -> None:
    first = (await prepare.prepare(layout, WANTED)).installation
    layout.environments.mkdir()
    (layout.environments / "ports.json").write_text("{}")
    (layout.environments / "ports.lock").touch()
    (layout.environments / "runtimes").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert port != first.gateway_port
    moved = await prepare.prepare(layout, replace(WANTED, gateway_port=port))
    assert moved.installation.gateway_port == port


def resolver(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """This machine's resolver as one that answers so; no address: it knows no such name."""

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET6 if ":" in each else socket.AF_INET, 1, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    ("addresses", "web_host"),
    [
        (("127.0.0.1",), "name"),
        (("::1", "127.0.0.1"), "name"),
        (("::1",), "address"),
        (("127.0.0.2",), "address"),
        (("127.0.0.1", "192.0.2.7"), "address"),
        ((), "address"),
    ],
)
async def test_names_are_used_where_they_lead_to_the_gateway(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...], web_host: str
) -> None:
    resolver(monkeypatch, *addresses)
    assert await hosts.decide("auto") == web_host


async def test_who_asks_for_names_is_told_when_they_do_not_resolve(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = replace(WANTED, web_host="name")
    resolver(monkeypatch, "::1")
    for _ in ("the first time", "again"):
        prepared = await prepare.prepare(layout, names)
        assert prepared.installation.web_host == "name"
        (notice,) = [each for each in prepared.notices if "AERODROME_WEB_HOST" in each]
        for word in ("Python", "Node.js", "curl", "apt install libnss-myhostname", "AERODROME_WEB_HOST=address"):
            assert word in notice
    resolver(monkeypatch, "127.0.0.1")
    assert not any("AERODROME_WEB_HOST" in each for each in (await prepare.prepare(layout, names)).notices)


async def test_what_is_fixed_says_so(layout: Layout) -> None:
    first = (await prepare.prepare(layout, WANTED)).installation
    again = await prepare.prepare(layout, replace(WANTED, account="222222222222", web_host="name"))
    assert again.installation == first
    assert ["AERODROME_ACCOUNT" in notice for notice in again.notices] == [True, False]
    assert "AERODROME_WEB_HOST" in again.notices[1]


async def test_state_never_changes_sides(layout: Layout) -> None:
    await prepare.prepare(layout, WANTED)
    with pytest.raises(Permanent, match="AERODROME_POSTGRES_URL"):
        await prepare.prepare(layout, replace(WANTED, postgres_url=EXTERNAL))


async def test_an_outside_server_may_move(layout: Layout) -> None:
    first = (await prepare.prepare(layout, replace(WANTED, postgres_url=EXTERNAL + "/"))).installation
    assert first.postgres_url == EXTERNAL
    moved = EXTERNAL.replace("5432", "5433")
    assert (await prepare.prepare(layout, replace(WANTED, postgres_url=moved))).installation.postgres_url == moved
    assert (await prepare.prepare(layout, WANTED)).installation.postgres_url == moved


@pytest.mark.parametrize("url", ["db.example.org:5432", EXTERNAL + "/airflow", EXTERNAL + "?sslmode=require"])
async def test_the_url_of_an_outside_server_names_no_database(layout: Layout, url: str) -> None:
    with pytest.raises(Permanent, match="without a database"):
        await prepare.prepare(layout, replace(WANTED, postgres_url=url))
    assert not layout.installation_file.exists()


@pytest.mark.parametrize(
    ("bind", "endpoint"),
    [
        ("127.0.0.1", "http://127.0.0.1:4610"),
        ("::", "http://127.0.0.1:4610"),
        ("10.0.0.7", "http://10.0.0.7:4610"),
        ("fd00::7", "http://[fd00::7]:4610"),
    ],
)
async def test_the_endpoint_is_where_the_front_door_listens(layout: Layout, bind: str, endpoint: str) -> None:
    made = (await prepare.prepare(layout, WANTED)).installation
    assert replace(made, bind=bind, front_port=4610).endpoint == endpoint


async def test_private_web_servers_have_the_port_of_public_ones_where_each_has_an_address(layout: Layout) -> None:
    port, other = free_port(), free_port()
    made = (await prepare.prepare(layout, replace(WANTED, gateway_port=port))).installation
    assert (made.gateway_port, made.private_port) == (port, port)
    moved = (await prepare.prepare(layout, replace(WANTED, gateway_port=port, private_port=other))).installation
    assert moved.private_port == other


async def test_named_ones_have_a_port_of_their_own_which_stays(layout: Layout) -> None:
    wanted = replace(WANTED, web_host="name", gateway_port=free_port())
    made = (await prepare.prepare(layout, wanted)).installation
    assert made.private_port not in (0, made.gateway_port)
    assert (await prepare.prepare(layout, wanted)).installation.private_port == made.private_port
    (layout.environments / "0123456789ab").mkdir(parents=True)
    with pytest.raises(Permanent, match=r"AERODROME_PRIVATE_GATEWAY_PORT asks for .* carry port"):
        await prepare.prepare(layout, replace(wanted, private_port=free_port()))


@pytest.mark.parametrize("mode", ["name", "address"])
async def test_an_installation_of_before_the_private_side_gets_one(layout: Layout, mode: str) -> None:
    made = (await prepare.prepare(layout, replace(WANTED, web_host=mode))).installation
    earlier = {name: value for name, value in asdict(made).items() if not name.startswith(("private_", "gateway_b"))}
    for path in (layout.installation_file, layout.installation_copy):
        path.write_text(json.dumps(earlier))
    (layout.environments / "0123456789ab").mkdir(parents=True)
    wanted = replace(WANTED, web_host=mode)
    again = (await prepare.prepare(layout, wanted, running=["front_port", "gateway_port", "private_port"])).installation
    assert again.private_port > 0
    assert (again.private_port == again.gateway_port) is (mode == "address")
    assert again == replace(made, private_port=again.private_port)


async def test_an_address_that_others_reach_takes_names(layout: Layout) -> None:
    opened = replace(WANTED, web_host="auto", private_bind="127.0.0.2", private_port=free_port())
    made = (await prepare.prepare(layout, opened)).installation
    assert (made.web_host, made.gateway_bind, made.private_bind) == ("name", "127.0.0.1", "127.0.0.2")
    with pytest.raises(Permanent, match=r"AERODROME_GATEWAY_BIND is 10\.0\.0\.1.*AERODROME_WEB_HOST=name"):
        await prepare.prepare(Layout(layout.home / "second"), replace(WANTED, gateway_bind="10.0.0.1"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.9", "localhost", "[::1]"])
async def test_servers_on_this_machine_need_no_tls(layout: Layout, host: str) -> None:
    wanted = replace(WANTED, postgres_url=f"postgresql://u:p@{host}:5432", valkey_url=f"redis://u:p@{host}:6379")
    made = (await prepare.prepare(layout, wanted)).installation
    assert made.postgres_options == made.postgres_variables == {}


async def test_a_postgresql_elsewhere_is_spoken_to_over_tls(layout: Layout) -> None:
    wanted = replace(WANTED, postgres_url=EXTERNAL)
    made = (await prepare.prepare(layout, wanted)).installation
    bundle = str(layout.ca_bundle)
    assert made.postgres_options == {"sslmode": "verify-full", "sslrootcert": bundle}
    assert made.postgres_variables == {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": bundle}
    mine = replace(wanted, server_ca=Path("/etc/mine.pem"))
    assert (await prepare.prepare(layout, mine)).installation.postgres_options["sslrootcert"] == "/etc/mine.pem"
    for told, mode in (("require", "require"), ("off", "prefer")):
        made = (await prepare.prepare(layout, replace(wanted, server_tls=told))).installation
        assert made.postgres_variables == {"PGSSLMODE": mode}


async def test_a_valkey_elsewhere_without_tls_is_refused(layout: Layout) -> None:
    plain = replace(WANTED, valkey_url="redis://u:p@cache.example.org:6379")
    for told in ("verify", "require"):
        with pytest.raises(Permanent, match=r"leads to cache\.example\.org.*rediss://.*AERODROME_SERVER_TLS=off"):
            await prepare.prepare(layout, replace(plain, server_tls=told))
    assert not layout.installation_file.exists()
    assert (await prepare.prepare(layout, replace(plain, server_tls="off"))).installation.valkey_url == plain.valkey_url
    other = home_with_key(layout.home / "other")
    secure = replace(WANTED, valkey_url="rediss://u:p@cache.example.org:6379")
    assert (await prepare.prepare(other, secure)).installation.valkey_url == secure.valkey_url


async def test_a_server_without_tls_gets_no_password(layout: Layout, postgres_url: str) -> None:
    made = (await prepare.prepare(layout, replace(WANTED, postgres_url=postgres_url))).installation
    await postgres.check(made)
    for mode in ("verify-full", "require"):
        with pytest.raises(Permanent, match=r"isn't on this machine, and TLS with it fails: .*AERODROME_SERVER_TLS"):
            await postgres.check(replace(made, postgres_sslmode=mode))


SECRETS = ("postgres_password", "valkey_password", "admin_secret_key", "supervisor_password")


async def test_passwords_and_keys_lie_sealed(layout: Layout) -> None:
    wanted = replace(WANTED, valkey_url="redis://boss:hunter2@127.0.0.1:6379")
    made = (await prepare.prepare(layout, wanted)).installation
    for path in (layout.installation_file, layout.installation_copy):
        text = path.read_text()
        assert not [name for name in SECRETS if getattr(made, name) in text]
        assert "hunter2" not in text
        assert json.loads(text)["admin_access_key"] == made.admin_access_key
    layout.master_key.write_bytes(b"x" * 32)
    with pytest.raises(Permanent, match=rf"{layout.installation_file} is damaged .*master key"):
        installation.load(layout)
    layout.master_key.unlink()
    with pytest.raises(Permanent, match=r"master\.key is gone.*Restore it from a backup"):
        installation.load(layout)
    assert installation.id_of(layout) == made.id


async def test_what_an_earlier_release_wrote_is_read_and_sealed_by_the_next_up(layout: Layout) -> None:
    made = (await prepare.prepare(layout, WANTED)).installation
    for path in (layout.installation_file, layout.installation_copy):
        path.write_text(installation.dump(made))
    assert installation.load(layout) == made
    prepared = await prepare.prepare(layout, WANTED)
    assert (prepared.installation, prepared.notices) == (made, ())
    for path in (layout.installation_file, layout.installation_copy):
        assert made.postgres_password not in path.read_text()

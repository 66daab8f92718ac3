"""Every listener of an installation, from the kernel's own tables; and every route of each, without credentials."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aerodrome.domain.airflow_version import AirflowVersion
from aerodrome.domain.plan import database_url
from aerodrome.gateway import paths
from aerodrome.layout import Layout
from aerodrome.machineroom.memory import tree
from aerodrome.supervision import daemon
from aerodrome.supervision.files import Files
from support import traces
from support.people import browser, port_of, secrets_of, trust
from support.site import Demo, Site

SCRIPT = Path(__file__).parents[1] / "support" / "route_table.py"
LISTENING = "0A"  # of /proc/net/tcp
NETWORK = ipaddress.ip_network("127.0.0.0/8")


def sockets_of(pids: Iterable[int]) -> set[str]:
    """Inodes. Files that are closed and processes that end while being looked at are none."""
    found = set()
    for pid in pids:
        try:
            links = list(Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
        for link in links:
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found


def address_of(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    raw = b"".join(bytes.fromhex(host[place : place + 8])[::-1] for place in range(0, len(host), 8))
    return str(ipaddress.ip_address(raw)), int(port, 16)


def listening(inodes: set[str]) -> set[tuple[str, int]]:
    """(address, port) of TCP listeners, and of UDP sockets, which take from anybody."""
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[9] in inodes and (
                columns[3] == LISTENING or (table.startswith("udp") and columns[2][-4:] == "0000")
            ):
                found.add(address_of(columns[1]))
    return found


def unix_listeners(inodes: set[str]) -> set[str]:
    """Paths of UNIX sockets that take connections; `@…` are abstract, without a file's permissions."""
    found = set()
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        columns = line.split()
        if columns[6] in inodes and int(columns[3], 16) & 0x10000:
            found.add(columns[7] if len(columns) > 7 else "")
    return found


@pytest.fixture
def processes(site: Site) -> set[int]:
    supervisor = daemon.owner(Files.of(site.layout))
    assert supervisor is not None
    return set(tree(supervisor))


def expected(site: Site) -> dict[tuple[str, int], str]:
    """What docs/explanation/security.md names."""
    made, home = site.installation, site.layout
    known = {
        ("127.0.0.1", made.front_port): "front door",
        ("127.0.0.1", made.postgres_port): "PostgreSQL",
        ("127.0.0.1", made.valkey_port): "Valkey",
        ("127.0.0.1", made.cloud_port): "embedded cloud",
        ("127.0.0.1", made.gateway_port): "gateway",
    }
    book = json.loads((home.environments / "ports.json").read_text())
    for slots in book["slots"].values():
        for name, port in slots["webserver-1"].items():
            known["127.0.0.1", port] = "tasks' API" if name == "*" else "Airflow's web server"
    for components in book["components"].values():
        for ports in components.values():
            known |= {("127.0.0.1", port): "Airflow's web server" for port in ports.values()}
    return known


def test_every_listener_is_known_and_on_loopback(site: Site, demo: Demo, processes: set[int]) -> None:
    inodes = sockets_of(processes)
    known, gateways = expected(site), Counter[str]()
    private = getattr(site.installation, "private_port", site.installation.gateway_port)
    for address, port in listening(inodes):
        assert ipaddress.ip_address(address) in NETWORK, f"{address}:{port} is open to others"
        if (address, port) in known:
            gateways[known[address, port]] += 1
        elif port in (site.installation.gateway_port, private) and address.startswith("127.8"):
            gateways["gateway"] += 1  # an address for each environment and side
        else:
            raise AssertionError(f"nobody knows what listens on {address}:{port}")
    for what in ("front door", "PostgreSQL", "Valkey", "embedded cloud", "gateway", "Airflow's web server"):
        assert gateways[what], what


def test_sockets_in_the_file_system_are_closed_to_others(site: Site, demo: Demo, processes: set[int]) -> None:
    """Each lies behind a directory that only its owner may enter, or is itself its owner's alone."""
    found, seen = unix_listeners(sockets_of(processes)), 0
    for path in found:
        assert path.startswith(str(site.home)), f"{path} isn't below the home"
        # Supervisor binds under a name with its pid behind it, and renames.
        file = Path(path) if Path(path).exists() else Path(path).with_suffix("")
        try:
            own = file.stat().st_mode & 0o007
        except FileNotFoundError:  # nobody comes in by a name that is gone
            continue
        seen += 1
        above = [each.stat().st_mode & 0o001 for each in file.parents if site.home in each.parents]
        assert own == 0 or not all(above), f"{path} is open to every user of the machine"
    assert seen


def routes(demo: Demo) -> list[tuple[str, str]]:
    """Of the environment's web server, from its own Airflow on its own database."""
    version, layout = demo.version, demo.site.layout
    python, *_ = layout.runtimes.glob(f"{version.version}-*/bin/python")
    with tempfile.TemporaryDirectory(prefix="aero-routes-", dir="/tmp") as folder:
        done = demo.site.run(
            "env", "-i", *variables(demo, version, layout, folder), python, "-P", SCRIPT, str(version.major)
        )
    found = [(method, path) for method, path in json.loads(done.stdout.strip().splitlines()[-1])]
    assert len(found) > 150
    return found


def variables(demo: Demo, version: AirflowVersion, layout: Layout, folder: str) -> Iterator[str]:
    environment_id = traces.id_of(demo.site, demo.name)
    secrets = secrets_of(demo.site, environment_id)
    url = database_url(environment_id, secrets, demo.site.installation.postgres_url.rpartition("@")[2])
    options = {**version.essential, version.names["secret_key"]: secrets.secret_key, "core.load_examples": "False"}
    if "jwt_secret" in version.names:
        options[version.names["jwt_secret"]] = secrets.jwt_secret
    yield from (f"{name}={value}" for name, value in demo.site.environment().items() if name in ("PATH", "LANG"))
    yield f"AIRFLOW_HOME={folder}"
    yield f"HOME={folder}"
    yield f"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN={version.driver}://{url.partition('://')[2]}"
    yield from (f"AIRFLOW__{name.replace('.', '__').upper()}={value}" for name, value in options.items())


async def statuses(
    base: str, asked: list[tuple[str, str]], *, verify: Any = True, headers: dict[str, str] | None = None
) -> dict[tuple[str, str], int]:
    turns = asyncio.Semaphore(8)
    async with httpx.AsyncClient(base_url=base, verify=verify, headers=headers, timeout=60, trust_env=False) as client:

        async def ask(method: str, path: str) -> int:
            async with turns:
                return (await client.request(method, path)).status_code

        return dict(zip(asked, await asyncio.gather(*(ask(*each) for each in asked)), strict=True))


def others(found: dict[tuple[str, str], int], *allowed: int) -> dict[tuple[str, str], int]:
    return {asked: status for asked, status in found.items() if status not in allowed}


def test_every_route_of_airflow_wants_somebody_at_each_of_its_listeners(demo: Demo) -> None:
    asked = [*routes(demo), ("GET", "/"), ("GET", "/nothing-like-it"), ("GET", "/execution/health")]
    inside, outside = [], []
    for method, path in asked:
        (inside if paths.is_execution(path.encode()) else outside).append((method, path))
    gateway = asyncio.run(statuses(f"https://{demo.host}", asked, verify=trust(demo.site)))
    assert others({each: gateway[each] for each in outside}, 401) == {
        each: 200 for each in outside if paths.is_logout(each[1].encode())
    }
    assert others({each: gateway[each] for each in inside}, 404) == {}
    port = f"http://127.0.0.1:{port_of(demo)}"
    assert others(asyncio.run(statuses(port, asked)), 401) == {}
    if demo.version.execution_api:
        tasks = f"http://127.0.0.1:{port_of(demo, '*')}"
        found = asyncio.run(statuses(tasks, asked))
        assert others({each: found[each] for each in inside}, 401) == {}
        assert others({each: found[each] for each in outside}, 404) == {}
        forged = {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."}
        api = [(method, path) for method, path in inside if "/execution/health" not in path]
        answers = asyncio.run(statuses(tasks, api, headers=forged))
        assert not [each for each, status in answers.items() if status < 400 and not each[1].endswith(OPEN_TO_TASKS)]


# Pages about the API itself, without data; they need a token of some kind at the port, and none at Airflow.
OPEN_TO_TASKS = ("/docs", "/redoc", "/openapi.json", "/changelog", "/docs/oauth2-redirect", "/execution/", "/execution")


OWN_PAGES = {
    ("GET", "aws-console-sso"): 200,  # the page that takes the token out of the address; it knows nothing
    ("GET", "login"): 405,
    ("POST", "login"): 400,  # no token
    ("GET", "cli"): 405,
    ("POST", "cli"): 403,
    ("GET", "nothing"): 404,
    ("GET", ""): 404,
}


def test_the_gateways_own_pages_give_nothing_away(demo: Demo) -> None:
    with browser(demo) as client:
        for prefix in paths.PREFIXES:
            for (method, page), status in OWN_PAGES.items():
                assert client.request(method, f"{prefix}/{page}").status_code == status, (method, prefix, page)
        answer = client.get("/", headers={"Host": "nothing.localhost"})
        assert answer.status_code in (404, 421)


def test_every_route_of_the_front_door_wants_a_signature(site: Site) -> None:
    """MWAA's own operations, from botocore's model, ours beside them, and what goes to the embedded cloud."""
    from botocore.loaders import Loader

    operations = Loader().load_service_model("mwaa", "service-2")["operations"].values()
    asked = [
        (each["http"]["method"], each["http"]["requestUri"].replace("{", "").replace("}", "")) for each in operations
    ]
    assert len(asked) == 12
    environment_id = traces.id_of(site, "demo")
    asked += [
        ("GET", "/_aerodrome/environments/demo/events"),
        ("GET", "/_aerodrome/sessions"),
        ("POST", "/_aerodrome/sessions/revoke"),
        ("GET", f"/_aerodrome/credentials/{environment_id}"),
        ("GET", "/"),
        ("POST", "/"),
        ("GET", f"/{site.bucket}"),
        ("GET", f"/{site.bucket}/dags/flights.py"),
        ("PUT", f"/{site.bucket}/dags/forged.py"),
        ("GET", "/_ministack/health"),
        ("GET", "/_localstack/health"),
        ("GET", "/_aerodrome/"),
    ]
    for endpoint in (site.installation.endpoint, f"http://127.0.0.1:{site.installation.cloud_port}"):
        found = asyncio.run(statuses(endpoint, asked))
        assert others(found, 400, 401, 403, 404) == {}, endpoint
        assert not [each for each, status in found.items() if status == 400 and each[0] == "GET"]
    healthy = asyncio.run(statuses(site.installation.endpoint, [("GET", "/healthz")]))
    assert healthy == {("GET", "/healthz"): 200}

"""Every file that we write and read again, cut to half and to nothing: mended by the next `up`, or refused by name.

The files are those that a real home holds. A file of a kind that no list below knows fails the test.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

import psycopg
import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aerodrome import pki
from aerodrome.backends.local import LocalBackend
from aerodrome.content.folder import VersionedFolder
from aerodrome.content.keys import Listed
from aerodrome.content.manifest import Manifest
from aerodrome.domain.component import Component, ComponentKind, ComponentState, Phase
from aerodrome.errors import Temporary
from aerodrome.runtimes import inventory
from aerodrome.supervision import Supervisor
from support.house import House

ENVIRONMENT, RUNTIME = "0123456789ab", "3.3.1-py3.11-000000000000"
WEB = Component(
    "webserver-1-abcdef", "webserver-1", ComponentKind.WEB_SERVER, RUNTIME, ("serve", "{port[web]}"), ports=("web",)
)
JOB = Component("job-1", "job-1", ComponentKind.JOB, RUNTIME, ("python",))
SERVE = '#!/bin/sh\ntrap "exit 0" TERM\nwhile :; do sleep 0.2 & wait $!; done\n'

# What can't be made again without loss: `up` says which file, and what to do.
REFUSED = {
    "secrets/master.key": "Restore it from a backup",
    "secrets/cloud.key": "restore it from a backup",
    "secrets/pki.password": "restore it from a backup",
    "pki/ca.key": "Restore it from a backup, or remove it and",
}
# What is written again from what is known elsewhere.
MENDED = (
    "installation.json",
    "secrets/installation.json",
    "pki/ca.pem",
    "pki/bundle.pem",
    "pki/issued/*.pem",
    "postgres/initialised",
    "valkey/users.acl",
    "valkey/valkey.conf",
    "run/cloud.json",
    "run/server.digest",
    "run/supervisord.conf",
    "run/conf.d/*.ini",
    "run/launch/*.sh",
    "run/launch/*.env",
    "run/programs/*.json",
    "run/pids/*",
    "run/starts/*",
    "run/results/*",
    "environments/ports.json",
    "environments/*/content/.versions/dags-*.json",
    "runtimes/*/.complete",
    "cloud/FORMAT",
)
# Kept by servers, whose trade it is; and what nobody reads.
OTHERS = (
    "postgres/data/*",
    "valkey/appendonlydir/*",
    "cloud/state.db*",
    "machine/*",
    "cache/*",
    "log/*",
    "lock",
    "*/lock",
    "run/supervisor.lock",
    "run/launch.lock",
    "run/supervisord.pid",  # gone with supervisord, and removed before it starts
    "environments/ports.lock",
    "environments/ports.copy.json",  # cut short alone in a test of the unit
    "environments/*/components/*",
    "environments/*/content/dags/*",
    "runtimes/*/bin/*",
)


def files(house: House) -> list[str]:
    return sorted(str(path.relative_to(house.home)) for path in house.home.rglob("*") if path.is_file())


def matching(house: House, patterns: tuple[str, ...]) -> list[str]:
    return [name for name in files(house) if any(fnmatch(name, pattern) for pattern in patterns)]


def cut(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def backend(house: House) -> LocalBackend:
    supervisor = Supervisor(house.layout, house.installation.supervisor_password)
    return LocalBackend(house.layout, supervisor, house.installation.id)


async def furnish(house: House) -> None:
    """An environment with a component that runs, and DAGs."""
    root = house.layout.runtime(RUNTIME)
    (root / "bin").mkdir(parents=True)
    for name, text in (("serve", SERVE), ("python", "#!/bin/sh\n")):
        (root / "bin" / name).write_text(text)
        (root / "bin" / name).chmod(0o755)
    inventory.complete(root, RUNTIME)
    pki.issue(house.layout, ["x.airflow.localhost"])
    await until_phase(backend(house), JOB, Phase.SUCCEEDED)
    await until_phase(backend(house), WEB, Phase.RUNNING)
    dags = VersionedFolder(house.layout.dags(ENVIRONMENT))
    version, new = dags.begin()
    (new / "dag.py").write_text("import airflow")
    listed = Listed(key="dags/dag.py", etag="x", size=14, modified=0)
    dags.commit(new, Manifest(version, "bucket/dags", new.stat().st_ino, {"dag.py": listed}))


async def until_phase(local: LocalBackend, component: Component, wanted: Phase) -> ComponentState:
    """Ask for the component as the reconciler does, until it is in that phase."""
    async with asyncio.timeout(60):
        while True:
            state = (await local.observe(ENVIRONMENT)).get(component.name)
            if state is not None and state.phase is wanted:
                return state
            with suppress(Temporary):
                await local.ensure(ENVIRONMENT, component)
            await asyncio.sleep(0.2)


def web_address(house: House) -> str:
    """Where the component answers, once it runs."""
    return asyncio.run(until_phase(backend(house), WEB, Phase.RUNNING)).addresses["web"]


def authority(house: House) -> bytes:
    """The public key that clients trust."""
    certificate = x509.load_pem_x509_certificate(house.layout.ca_certificate.read_bytes())
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


LAUNCH = ("run/launch/*.sh", "run/launch/*.env", "run/programs/*.json")


@pytest.fixture
def furnished(house: House) -> House:
    """One that ran, and is down."""
    house.run("up", "--detach")
    asyncio.run(furnish(house))
    with psycopg.connect(f"{house.installation.postgres_url}/postgres", autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    with redis.from_url(house.installation.valkey_url) as client:
        client.set("kept", 7)
    house.run("down", "--now")
    return house


def check_state(house: House) -> None:
    """What was acknowledged is there, and nobody gets in who didn't before."""
    installation = house.installation
    with psycopg.connect(f"{installation.postgres_url}/postgres") as connection:
        assert connection.execute("SELECT value FROM kept").fetchall() == [(7,)]
    with redis.from_url(installation.valkey_url) as client:
        assert client.get("kept") == b"7"
    stranger = redis.from_url(f"redis://127.0.0.1:{installation.valkey_port}")
    with stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_half_written_files(furnished: House) -> None:
    house, installation = furnished, furnished.installation
    trusted, ports = authority(house), (house.layout.environments / "ports.json").read_text()
    check_all_are_known(house)
    check_refusals(house)
    for share in (0.5, 0.0):
        for name in matching(house, MENDED):
            if name != "secrets/installation.json":  # one of the two; both are among the refusals
                cut(house.home / name, share)
        output = house.run("up", "--detach")
        assert f"{house.layout.installation_file} or its copy was damaged" in output
        assert house.installation == installation
        assert authority(house) == trusted
        assert web_address(house).rpartition(":")[2] in ports
        assert VersionedFolder(house.layout.dags(ENVIRONMENT)).current() is None, "fetched again, not trusted"
        assert inventory.damage(house.layout, RUNTIME) is not None, "built again, not trusted"
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*pki.issue(house.layout, ["x.airflow.localhost"]))
        check_state(house)
        house.run("down", "--now")


def test_half_written_launch_scripts(furnished: House) -> None:
    """Supervisor's own files are whole, so that it starts what ours say."""
    house = furnished
    for name in matching(house, LAUNCH):
        cut(house.home / name, 0.5)
    house.run("up", "--detach")
    web_address(house)
    check_state(house)


def check_all_are_known(house: House) -> None:
    known = {*REFUSED, *matching(house, MENDED), *matching(house, OTHERS)}
    assert [name for name in files(house) if name not in known] == [], "who reads it, and what if it is cut short?"
    assert [pattern for pattern in (*REFUSED, *MENDED) if not matching(house, (pattern,))] == []


def check_refusals(house: House) -> None:
    """Nothing is lost silently: the command ends, names file and remedy, and changes nothing."""
    both = ("installation.json", "secrets/installation.json")
    cases = [((name,), remedy) for name, remedy in REFUSED.items()] + [(both, "restore it from a backup")]
    for names, remedy in cases:
        whole = {name: (house.home / name).read_bytes() for name in names}
        torn = {name: data[: len(data) // 2] for name, data in whole.items()}  # every length is the unit tests' part
        for name, data in torn.items():
            (house.home / name).write_bytes(data)
        output = house.run("up", "--detach", code=1)
        assert str(house.home / names[0]) in output
        assert remedy in output
        assert "Traceback" not in output
        assert {name: (house.home / name).read_bytes() for name in names} == torn
        for name, data in whole.items():
            (house.home / name).write_bytes(data)
    house.run("down", "--now")

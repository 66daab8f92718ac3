"""What environments leave on a machine, and what of it belongs to none that there is."""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from aerodrome.backends import users
from aerodrome.domain.plan import broker_prefix, broker_user
from aerodrome.domain.web_server import Side, host_on
from support.site import Site

_ID = re.compile(r"[0-9a-f]{12}")
_SUPERVISED = ("conf.d", "launch", "programs", "pids", "starts", "results")


@dataclass(frozen=True, slots=True)
class Row:
    """An environment as the control plane's table has it."""

    id: str
    name: str
    region: str
    status: str
    host: str


def rows(site: Site) -> list[Row]:
    with psycopg.connect(f"{site.installation.postgres_url}/aerodrome") as connection:
        found = connection.execute("SELECT id, name, region, status, host FROM environments ORDER BY created_at")
        return [Row(*values) for values in found.fetchall()]


def row(site: Site, name: str, region: str) -> Row | None:
    return next((row for row in rows(site) if (row.name, row.region) == (name, region)), None)


def id_of(site: Site, name: str) -> str:
    """Of the environment in the installation's own region."""
    found = row(site, name, site.installation.region)
    assert found is not None
    return found.id


def databases(site: Site) -> set[str]:
    """`env_ID` of databases."""
    return _names(site, "SELECT datname FROM pg_database WHERE datname LIKE 'env\\_%'")


def roles(site: Site) -> set[str]:
    return _names(site, "SELECT rolname FROM pg_roles WHERE rolname LIKE 'env\\_%'")


def _names(site: Site, query: str) -> set[str]:
    with psycopg.connect(f"{site.installation.postgres_url}/postgres") as connection:
        return {str(values[0]) for values in connection.execute(query.encode()).fetchall()}


def broker_users(site: Site) -> set[str]:
    with redis.from_url(site.installation.valkey_url) as client:
        names = (name.decode() if isinstance(name, bytes) else str(name) for name in client.acl_users())
        return {name for name in names if name != "default"}


def broker_keys(site: Site, environment_id: str) -> list[str]:
    with redis.from_url(site.installation.valkey_url) as client:
        return [key.decode() for key in client.keys(f"{broker_prefix(environment_id)}*")]


def programs(site: Site, environment_id: str) -> list[str]:
    """Names of programs of the environment that have any file in Supervisor's folders."""
    folders = (site.layout.run / folder for folder in _SUPERVISED)
    return sorted({entry.name for folder in folders for entry in folder.glob(f"{environment_id}.*")})


def system_user(site: Site, environment_id: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(users.name_of(site.installation.id, environment_id))
    except KeyError:
        return None


def processes(uid: int | None, environment_id: str) -> list[int]:
    """Processes of the user, or that carry the environment's id in their command line or environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            texts = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            owner = entry.stat().st_uid
        except OSError:
            continue
        if (uid is not None and owner == uid) or f"{environment_id}.".encode() in texts:
            found.append(int(entry.name))
    return found


def addresses(site: Site, environment: Row) -> list[str]:
    """Where the environment's web server is reached, or was: the public and the private host."""
    return [host_on(side, environment.host, site.installation.private_port) for side in Side]


def answers(host: str) -> bool:
    """Whether anybody listens where an environment's web server had its address."""
    name, _, port = host.partition(":")
    if not name[0].isdigit():
        return False  # names share one address: only the gateway knows whose they are
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((name, int(port or 443))) == 0


def of_environment(site: Site, gone: Row, uid: int | None) -> list[str]:
    """Everything that is left of an environment that is gone. `uid`: of the system user it had."""
    left = [f"process {pid}" for pid in processes(uid, gone.id)]
    left += [f"database {name}" for name in databases(site) if gone.id in name]
    left += [f"role {name}" for name in roles(site) if gone.id in name]
    left += [f"broker user {name}" for name in broker_users(site) if name == broker_user(gone.id)]
    left += [f"broker key {key}" for key in broker_keys(site, gone.id)]
    left += [f"program {name}" for name in programs(site, gone.id)]
    left += [f"system user {user.pw_name}" for user in [system_user(site, gone.id)] if user]
    left += [f"files {path}" for path in [site.layout.environment(gone.id)] if path.exists()]
    left += [f"ports of {gone.id}"] if gone.id in (site.layout.environments / "ports.json").read_text() else []
    left += [f"route {host}" for host in addresses(site, gone) if answers(host)]
    return left


def of_nobody(site: Site) -> list[str]:
    """Everything that carries the id of an environment that is in no row."""
    known = {row.id for row in rows(site)}
    ports = json.loads((site.layout.environments / "ports.json").read_text())
    pids = (site.layout.run / "pids").iterdir()
    named = {
        "database": databases(site),
        "role": roles(site),
        "broker user": broker_users(site),
        "directory": {entry.name for entry in site.layout.environments.iterdir() if _ID.fullmatch(entry.name)},
        "ports": {key for book in ports.values() for key in book},
        "process": {entry.name for entry in pids if _ID.fullmatch(entry.name.partition(".")[0])},
        "system user": {
            entry.pw_name
            for entry in pwd.getpwall()
            if entry.pw_name.startswith(f"aero{site.installation.id}-") and _ID.search(entry.pw_name)
        },
    }
    return [
        f"{what} {name}" for what, names in named.items() for name in sorted(names) if not any(i in name for i in known)
    ]

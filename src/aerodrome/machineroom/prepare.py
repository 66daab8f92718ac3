"""The installation record: made at the first `up`, checked and carried on at every later one."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from aerodrome.domain.iam import LONG_TERM
from aerodrome.domain.web_server import DOMAIN
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.machineroom import hosts, ports, users
from aerodrome.machineroom.installation import Installation, load, save
from aerodrome.store.new_keys import new_id, new_secret

LOOPBACK = "127.0.0.1"
_SSL_MODES = {"verify": "verify-full", "require": "require", "off": "prefer"}
_ID_LENGTH = 6
_ENVIRONMENT_ID = re.compile(r"[0-9a-f]{12}")  # domain/environment.py; jobs and port records lie beside them


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings ask for; ports are None when the choice is left to us."""

    account: str
    region: str
    bind: str = "127.0.0.1"
    web_host: str = "auto"
    identity: str | None = None  # as it was; "embedded" at first
    port: int | None = None
    gateway_port: int | None = None
    gateway_bind: str = LOOPBACK
    private_port: int | None = None
    private_bind: str = LOOPBACK
    web_domain: str = DOMAIN
    postgres_port: int | None = None
    valkey_port: int | None = None
    cloud_port: int | None = None
    postgres_url: str | None = None
    valkey_url: str | None = None
    server_tls: str = "verify"  # as `Settings` has it
    server_ca: Path | None = None

    @property
    def asked_ports(self) -> dict[str, int | None]:
        return {
            "front_port": self.port,
            "gateway_port": self.gateway_port,
            "private_port": self.private_port,
            "postgres_port": self.postgres_port,
            "valkey_port": self.valkey_port,
            "cloud_port": self.cloud_port,
        }

    @property
    def needs_names(self) -> bool:
        """Whether somebody else is to reach web servers: nobody does at a loopback address."""
        return self.web_domain != DOMAIN or {self.gateway_bind, self.private_bind} != {LOOPBACK}


@dataclass(frozen=True, slots=True)
class Prepared:
    installation: Installation
    notices: tuple[str, ...]  # one line each, for the person who typed `up`


def find(layout: Layout) -> Installation | None:
    """The installation, or None before the first `up`.

    Raises:
        Permanent: it is there and can't be read.
    """
    return load(layout) if layout.installation_file.exists() else None


async def prepare(layout: Layout, wanted: Wanted, running: Iterable[str] = ()) -> Prepared:
    """The installation to run, written to disk when it is new or changed.

    `running` are the port fields whose program runs now: those ports stay.

    Raises:
        Permanent: a port that was asked for is taken; a change was asked for that would lose state.
    """
    before = find(layout)
    if before is None:
        web_host = "name" if wanted.web_host == "auto" and wanted.needs_names else await hosts.decide(wanted.web_host)
        _refuse_binds(wanted, web_host)
        prepared = _first(wanted, web_host)
    else:
        _refuse_binds(wanted, before.web_host)
        prepared = _again(layout, before, wanted, set(running))
    prepared = replace(prepared, installation=_with_tls(layout, prepared.installation, wanted))
    if save(layout, prepared.installation):
        notice = f"{layout.installation_file} or its copy was damaged, and was written again from the other one."
        prepared = replace(prepared, notices=(*prepared.notices, notice))
    named = wanted.web_host == prepared.installation.web_host == "name" and wanted.web_domain == DOMAIN
    if named and not await hosts.resolves():
        return replace(prepared, notices=(*prepared.notices, hosts.UNRESOLVED))
    return prepared


def _first(wanted: Wanted, web_host: str) -> Prepared:
    chosen = _choose(wanted, web_host, {}, ())
    installation = Installation(
        id=_new_id(),
        account=wanted.account,
        region=wanted.region,
        bind=wanted.bind,
        gateway_bind=wanted.gateway_bind,
        private_bind=wanted.private_bind,
        web_host=web_host,
        identity=wanted.identity or "embedded",
        postgres_password=secrets.token_urlsafe(24),
        valkey_password=secrets.token_urlsafe(24),
        admin_access_key=new_id(LONG_TERM),
        admin_secret_key=new_secret(),
        supervisor_password=secrets.token_urlsafe(24),
        external_postgres_url=_server_url(wanted.postgres_url, "POSTGRES_URL"),
        external_valkey_url=_server_url(wanted.valkey_url, "VALKEY_URL"),
        front_port=chosen["front_port"].port,
        gateway_port=chosen["gateway_port"].port,
        private_port=chosen["private_port"].port,
        postgres_port=chosen["postgres_port"].port,
        valkey_port=chosen["valkey_port"].port,
        cloud_port=chosen["cloud_port"].port,
    )
    return Prepared(installation, _notices(chosen))


def _again(layout: Layout, before: Installation, wanted: Wanted, running: set[str]) -> Prepared:
    recorded = {name: port for name in wanted.asked_ports if (port := int(getattr(before, name)))}
    running &= recorded.keys()
    _keep_gateway(layout, before, wanted, running)
    chosen = _choose(wanted, before.web_host, recorded, running)
    notices = _notices(chosen)
    if wanted.account != before.account:
        notices += (f"AERODROME_ACCOUNT is fixed at the first `up`: this installation's account is {before.account}.",)
    if wanted.web_host not in ("auto", before.web_host):
        notices += (f"AERODROME_WEB_HOST is fixed at the first `up`: `{before.web_host}` in this installation.",)
    installation = replace(
        before,
        identity=wanted.identity or before.identity,
        bind=before.bind if "front_port" in running else wanted.bind,
        external_postgres_url=_url(before.external_postgres_url, wanted.postgres_url, "POSTGRES_URL", layout),
        external_valkey_url=_url(before.external_valkey_url, wanted.valkey_url, "VALKEY_URL", layout),
        front_port=chosen["front_port"].port,
        gateway_bind=before.gateway_bind if "gateway_port" in running else wanted.gateway_bind,
        gateway_port=chosen["gateway_port"].port,
        private_bind=before.private_bind if "private_port" in running else wanted.private_bind,
        private_port=chosen["private_port"].port,
        postgres_port=chosen["postgres_port"].port,
        valkey_port=chosen["valkey_port"].port,
        cloud_port=chosen["cloud_port"].port,
    )
    return Prepared(installation, notices)


def _choose(
    wanted: Wanted, web_host: str, recorded: Mapping[str, int], running: Collection[str]
) -> dict[str, ports.Choice]:
    """Where web servers have addresses of their own, private ones have the port of public ones unless one is asked
    for: 443 mostly, as on MWAA.
    """
    every = ports.listeners(wanted.bind, wanted.gateway_bind, wanted.private_bind)
    shared = web_host == "address" and wanted.private_port is None and "private_port" not in running
    if shared:
        every = tuple(listener for listener in every if listener.field != "private_port")
    chosen = ports.choose(every, wanted.asked_ports, recorded, running)
    return chosen | ({"private_port": ports.Choice(chosen["gateway_port"].port)} if shared else {})


def _refuse_binds(wanted: Wanted, web_host: str) -> None:
    for bind, variable in ((wanted.gateway_bind, "GATEWAY_BIND"), (wanted.private_bind, "PRIVATE_GATEWAY_BIND")):
        if web_host == "address" and bind != LOOPBACK:
            raise Permanent(
                f"AERODROME_{variable} is {bind}, but web servers have loopback addresses of their own in this "
                "installation, which nobody else reaches. It takes AERODROME_WEB_HOST=name at the first `up`, and "
                "AERODROME_WEB_DOMAIN with names that lead to that address."
            )


def _keep_gateway(layout: Layout, before: Installation, wanted: Wanted, running: set[str]) -> None:
    """The names of existing environments carry the gateway's ports: they don't move while there are any."""
    if not _has_environments(layout):
        return
    for listener in ports.listeners(wanted.bind, wanted.gateway_bind, wanted.private_bind):
        port = int(getattr(before, listener.field))
        if listener.field not in ("gateway_port", "private_port") or listener.field in running or not port:
            continue
        if wanted.asked_ports[listener.field] not in (None, port):
            raise Permanent(
                f"{listener.variable} asks for {wanted.asked_ports[listener.field]}, but the web server addresses of "
                f"existing environments carry port {port}. Delete them first, or unset it."
            )
        reason = ports.problem(port, listener.addresses)
        if reason:
            raise Permanent(
                f"Port {port}, which the web server addresses of existing environments carry, {reason}. "
                "Stop that process and run `aerodrome up` again."
            )


def _has_environments(layout: Layout) -> bool:
    if not layout.environments.is_dir():
        return False
    return any(_ENVIRONMENT_ID.fullmatch(entry.name) and entry.is_dir() for entry in layout.environments.iterdir())


def _url(recorded: str | None, wanted: str | None, variable: str, layout: Layout) -> str | None:
    """An outside server may move or change its password; state never changes sides by itself."""
    if recorded is None and wanted is not None:
        raise Permanent(
            f"The installation at {layout.home} keeps its state in a server of its own; it can't go over to another. "
            f"Unset AERODROME_{variable}, or start anew with another AERODROME_HOME."
        )
    return _server_url(wanted, variable) if wanted else recorded


def _with_tls(layout: Layout, installation: Installation, wanted: Wanted) -> Installation:
    """Servers elsewhere are spoken to over TLS, unless a setting says otherwise.

    Raises:
        Permanent: the URL of one says that it is spoken to without.
    """
    valkey, postgres = installation.external_valkey_url, installation.external_postgres_url
    if valkey and _is_elsewhere(valkey) and urlsplit(valkey).scheme != "rediss" and wanted.server_tls != "off":
        raise Permanent(
            f"AERODROME_VALKEY_URL leads to {urlsplit(valkey).hostname}, off this machine, without TLS: begin it with "
            "rediss:// (Valkey: tls-port). If the way there is safe all the same, set AERODROME_SERVER_TLS=off."
        )
    mode = _SSL_MODES[wanted.server_tls] if postgres and _is_elsewhere(postgres) else ""
    ca = str(wanted.server_ca or layout.ca_bundle) if mode == "verify-full" else ""
    return replace(installation, postgres_sslmode=mode, postgres_ca=ca)


def _is_elsewhere(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def _server_url(url: str | None, variable: str) -> str | None:
    """The URL of a server without a database: we choose databases ourselves."""
    if url is None:
        return None
    parts = urlsplit(url)
    if not parts.hostname or parts.path.strip("/") or parts.query:
        raise Permanent(
            f"AERODROME_{variable} must look like SCHEME://USER:PASSWORD@HOST:PORT, without a database or options."
        )
    return url.rstrip("/")


def _notices(chosen: dict[str, ports.Choice]) -> tuple[str, ...]:
    return tuple(choice.notice for choice in chosen.values() if choice.notice)


def _new_id() -> str:
    """Letters and digits, a letter first, that no system user of this machine carries."""
    while True:
        rest = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(_ID_LENGTH - 1))
        fresh = secrets.choice(string.ascii_lowercase) + rest
        if not users.of_installation(fresh):
            return fresh

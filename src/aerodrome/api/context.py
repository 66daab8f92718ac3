"""What operations may use: handed in by the composition root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from aerodrome.api.airflow_session import AirflowSessions
from aerodrome.api.throttle import Throttle
from aerodrome.domain.environment import Environment, EnvironmentKey
from aerodrome.domain.principal import Credentials, RoleSource
from aerodrome.domain.web_server import DOMAIN, HTTPS_PORT, public_name, webserver_url, with_port
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.events import EventStore
from aerodrome.store.sessions import SessionStore
from aerodrome.store.tokens import TokenStore
from aerodrome.vault import Vault


class Network(Protocol):
    """Subnets, as EC2 tells of them."""

    async def check_subnets(self, key: EnvironmentKey, subnets: Collection[str]) -> None:
        """Raises:
        Permanent: they aren't there, or not fit for an environment.
        Temporary: EC2 can't be asked now.
        """
        ...


class KeyCheck(Protocol):
    """AWS KMS, asked about a key."""

    async def check(self, kms_key: str, environment: EnvironmentKey) -> None:
        """Raises Permanent: no environment can be sealed under it. Temporary: KMS doesn't answer."""
        ...


class Upstreams(Protocol):
    """Where an environment's web servers answer now."""

    async def web_servers(self, environment: Environment) -> list[str]:
        """`host:port` of each running one; empty when none runs."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    store: EnvironmentStore
    events: EventStore
    tokens: TokenStore
    signed_in: SessionStore
    vault: Vault
    roles: RoleSource
    s3_client: Callable[[Credentials, str], Any]  # (credentials, region) -> a boto3 S3 client
    network: Network
    upstreams: Upstreams
    sessions: AirflowSessions
    rest_throttle: Throttle
    poke: Callable[[str], None]
    now: Callable[[], datetime]
    loopback_address: Callable[[str, Collection[str]], str]  # (environment id, taken) -> 127.83.x.y
    gateway_port: int
    web_host: str  # "name" or "address"
    strict: bool
    # Account -> whether the service-linked role is there; None where the account's IAM isn't ours.
    has_service_role: Callable[[str], Awaitable[bool]] | None = None
    list_readable_only: bool = False  # whether ListEnvironments leaves out what the caller may not GetEnvironment
    private_port: int = HTTPS_PORT  # of private web servers
    web_domain: str = DOMAIN  # of host names
    kms: KeyCheck | None = None  # None: there is none whose keys encrypt
    issuer: str | None = None  # of the identity provider that people sign in through

    def host(self, environment_id: str, region: str, address: str) -> str:
        """The public host, which the private one follows from: fixed at create (design: web server host names)."""
        name = public_name(environment_id, region, self.web_domain) if self.web_host == "name" else address
        return with_port(name, self.gateway_port)

    def webserver_url(self, environment: Environment) -> str:
        """WebserverUrl and WebServerHostname: as the access mode in force has it."""
        return webserver_url(environment, self.private_port)

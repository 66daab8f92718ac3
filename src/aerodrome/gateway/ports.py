"""What the gateway is told and what it asks: plain values, and the protocols that the composition root implements.

Every method may raise `Temporary` (the store is away for a moment): the caller then sees 503 with Retry-After.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from aerodrome.domain.component import Output
from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.sign_in import Person
from aerodrome.domain.web_server import Side
from aerodrome.identity.oidc.attempts import Attempts
from aerodrome.identity.oidc.provider import Attempt
from aerodrome.web.limits import ConnectionLimits

Certificate = Callable[[Sequence[str], Sequence[str]], tuple[Path, Path, bytes]]
"""(host names, addresses) -> (certificate chain, key, the key's password), the first two files in PEM form.

Idempotent; may block (called in a thread).
"""


@dataclass(frozen=True, slots=True)
class Route:
    """An environment's front door on one side. Two equal routes need no work; a changed one replaces the old."""

    environment_id: str
    key: EnvironmentKey
    host: str  # host name or address on this side, with ":port" unless it is 443
    upstreams: tuple[str, ...]  # "host:port" of every web server that is up; empty while none is
    login_path: str  # Airflow's own: "/login/" (2), "/auth/login/" (3)
    cookie_name: str  # Airflow's own: "session" (2), "_token" (3)
    airflow_major: int
    address: str | None = None  # loopback address with a listener of its own (`address` mode)
    aliases: tuple[str, ...] = ()  # further host names or addresses that are answered and certified
    side: Side = Side.PUBLIC
    base_host: str = ""  # the host that Airflow takes for its own, where that is another one
    issuer: str | None = None  # of the identity provider that people may sign in through


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is signed in to a web server."""

    user: str  # AirflowIdentity: the user's name in Airflow
    roles: tuple[str, ...]
    iam_identity: str  # "user/NAME", "assumed-role/ROLE/SESSION" or "root"; Airflow's first name


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What a web token was worth. `voucher` is for whoever redeemed it: handed back when the session opens."""

    environment_id: str
    user: str
    roles: tuple[str, ...]
    iam_identity: str
    voucher: object = None

    @property
    def principal(self) -> Principal:
        return Principal(self.user, self.roles, self.iam_identity)


@dataclass(frozen=True, slots=True)
class CliGrant:
    """What a CLI token is worth."""

    environment_id: str
    iam_identity: str


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser or client."""

    id: str
    environment_id: str
    principal: Principal
    expires: datetime
    issuer: str | None = None  # of the identity provider that let the person in; None: a web token did


class Tokens(Protocol):
    """Tokens of CreateWebLoginToken and CreateCliToken (60 s each, mwaa-spec 7.2)."""

    async def redeem_web_token(self, token: str) -> Redeemed | None:
        """Use the token up, atomically. None: unknown, expired or used before."""
        ...

    async def check_cli_token(self, token: str) -> CliGrant | None:
        """What the token allows until it expires; it may be used more than once. None: unknown or expired."""
        ...


class Sessions(Protocol):
    """Found by `credential_hash`: 64 lower-case hex digits, sha256 of Airflow's own cookie. Never the cookie itself."""

    async def open_session(self, credential_hash: str, redeemed: Redeemed, expires: datetime) -> bool:
        """A new session until `expires`. False: its token was revoked while Airflow signed the user in.

        The hash of a session that was ended opens none.
        """
        ...

    async def follow_session(self, credential_hash: str, session_id: str) -> None:
        """The session has a further cookie, which ends with it."""
        ...

    async def session(self, credential_hash: str) -> Session | None:
        """The session. None: unknown, expired, ended, or whoever opened it may no longer be there."""
        ...

    async def end_session(self, session_id: str) -> None:
        """End it now, for all of its cookies. Unknown is success."""
        ...


class Gate(Protocol):
    """Whom the security groups of environments let in; answers at once, from what was read last."""

    def admits(self, environment_id: str, client: str) -> bool:
        """`client`: an IP address as the system writes it. Nobody gets in to an environment that isn't known."""
        ...

    def groups(self, environment_id: str) -> Sequence[str]:
        """The groups' ids, for people."""
        ...


class IdentityProvider(Protocol):
    """Where people sign in. Each method may raise `SignInError`, whose message is for them."""

    @property
    def issuer(self) -> str: ...

    @property
    def name(self) -> str:
        """What people know it by: its host."""
        ...

    async def authorization_url(self, attempt: Attempt) -> str:
        """Where the browser is sent to."""
        ...

    async def check_issuer(self, named: str | None) -> None:
        """Refuse an answer that names another issuer, or none where it should."""
        ...

    async def person(self, code: str, attempt: Attempt) -> Person:
        """Whom the code of the provider's answer stands for."""
        ...


class People(Protocol):
    """What people whom the provider vouches for may do."""

    async def admit_person(self, environment_id: str, person: Person, client: str) -> Redeemed | None:
        """What a web token would have been worth. None: no group of theirs has a role in the environment."""
        ...


@dataclass(frozen=True, slots=True)
class Opening:
    """One side of the gateway. `bind` is the address of the listener that all its environments share, None: each has
    an address of its own. `port` is every listener's (0: any, for tests). Without a `gate` anybody may come.
    """

    port: int
    bind: str | None
    gate: Gate | None = None


@dataclass(frozen=True, slots=True)
class Oidc:
    """All that signing in through an identity provider needs."""

    provider: IdentityProvider
    attempts: Attempts
    people: People
    groups_claim: str  # for the page that tells somebody that none of their groups counts


class Environments(Protocol):
    """What the gateway needs of an environment beyond its route."""

    async def identity_secret(self, environment_id: str) -> bytes:
        """The key that signs X-Aerodrome-Identity; known to the gateway and that environment's web server alone."""
        ...

    async def run_cli(self, environment_id: str, argv: Sequence[str], timeout: float) -> Output:
        """Run `airflow ARGV…` in the environment to its end.

        Raises:
            TimeoutError: it did not end within `timeout` seconds (and has been ended).
            Permanent: it can't be run.
        """
        ...


@dataclass(frozen=True, slots=True)
class Limits(ConnectionLimits):
    """What one client can hold on to. Times are seconds, sizes bytes. Connections are those of all listeners."""

    body_idle: float = 60.0  # between two pieces of a request body
    upstream_connections: int = 100  # per environment
    per_user: int = 20  # of these, for one user: three browsers' worth of them
    connect: float = 5.0  # to a web server
    pool: float = 10.0  # to wait for a free upstream connection, or for one of the user's own turns
    login: float = 30.0  # for Airflow's own login to answer
    provider_calls: int = 16  # sign-ins that ask the identity provider at once; more of them wait as long as for `pool`
    session: float = 12 * 3600.0  # mwaa-spec 7.2
    recheck: float = 2.0  # between two looks whether the session of a long answer still stands
    cli_timeout: float = 60.0  # mwaa-spec 7.2 (load balancer's idle limit)
    cli_size: int = 100 * 1024  # of a CLI line; below what the kernel takes as one argument
    cli_commands: int = 4  # at once per environment (mwaa-spec 7.2); more of them wait
    cli_wait: float = 60.0  # for one of them to end


@dataclass(frozen=True, slots=True)
class Backstage:
    """All that the composition root hands in; one object may play several parts."""

    tokens: Tokens
    sessions: Sessions
    environments: Environments
    now: Callable[[], datetime]  # aware, UTC
    limits: Limits = field(default_factory=Limits)
    oidc: Oidc | None = None

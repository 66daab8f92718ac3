"""What the reconciler needs of the world, as narrow protocols: the composition root fills them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from aerodrome.backends.base import Backend
from aerodrome.domain.component import Component, ComponentState
from aerodrome.domain.environment import Environment, EnvironmentKey
from aerodrome.domain.plan import Plan
from aerodrome.domain.products import Part, Product
from aerodrome.domain.secrets import EnvironmentSecrets


class Planner(Protocol):
    def plan(self, environment: Environment, secrets: EnvironmentSecrets) -> Plan: ...


class Runtimes(Protocol):
    """Built virtual environments and their template databases, both made by jobs that the backend runs."""

    scope: str  # the id under which the backend keeps these jobs: they belong to no environment

    async def pin(self, version: str, pinned: str | None) -> str:
        """The runtime for an environment of that Airflow version that runs in `pinned` (None: new).

        The same one as long as it is whole, or can be made again; else the current one of the version.

        Raises:
            Permanent: there is none.
        """
        ...

    async def damage(self, runtime: str, *, suspicious: bool = False) -> str | None:
        """What of the runtime is damaged, as a phrase. `suspicious`: something ended in it, so look again."""
        ...

    def is_settling(self, runtime: str) -> bool:
        """Whether it was damaged and mended a moment ago."""
        ...

    async def is_built(self, runtime: str) -> bool:
        """Whether it is there and not known to be damaged."""
        ...

    def build_job(self, runtime: str) -> Component: ...

    async def has_template(self, runtime: str) -> bool: ...

    def template_job(self, runtime: str) -> Component: ...


class Databases(Protocol):
    """Airflow's metadata database of an environment: one database, one role."""

    async def ensure(
        self, environment_id: str, runtime: str, password: str, connection_limit: int, *, may_shrink: bool = True
    ) -> None:
        """`may_shrink`: the limit may become lower than it is."""
        ...

    async def drop(self, environment_id: str) -> None: ...


class Brokers(Protocol):
    """The Celery broker's part of an environment: one user, one key prefix."""

    async def ensure(self, environment_id: str, password: str) -> None: ...

    async def drop(self, environment_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class ContentState:
    synced_at: datetime | None  # last successful look at the bucket
    error: str | None  # why the last look failed


class Content(Protocol):
    """What the bucket holds, brought to where the components read it."""

    async def ensure(self, environment: Environment) -> ContentState: ...

    async def drop(self, environment_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Making:
    """Under way; `why` is for people."""

    why: str


@dataclass(frozen=True, slots=True)
class Made:
    """Made. `told`: what a person should know, without any value; `took`: seconds by phase, of what was done now."""

    product: Product = field(repr=False)
    told: str = ""
    took: Mapping[str, float] = field(default_factory=dict)


class Objects(Protocol):
    """What is made of an environment's plugins.zip, startup script and requirements.txt: beside what there is."""

    async def make(
        self, environment: Environment, secrets: EnvironmentSecrets, part: Part, *, suspicious: bool = False
    ) -> Making | Made:
        """The part's product, there and whole, of an environment that names the object; returns at once.

        The product that the environment has already is mended, never changed. `suspicious`: something of the
        environment ended by itself, so have a close look.

        Raises:
            Permanent: the object is gone, or can't become what it should; the message says why.
            Temporary: it can't be made now.
        """
        ...

    async def tidy(self, environment: Environment) -> None:
        """Remove what nothing uses of an environment whose every process is the plan's."""
        ...

    async def drop(self, environment_id: str) -> None:
        """End the making and remove what there is, of an environment of which nothing runs."""
        ...


class Routes(Protocol):
    """The gateway's way to an environment's web server."""

    async def ensure(self, environment: Environment, plan: Plan, observed: Mapping[str, ComponentState]) -> str:
        """As the access mode in force has it, which isn't that of an update that may yet be undone.

        Returns what a person should know, or nothing.
        """
        ...

    async def drop(self, environment_id: str) -> None: ...


class Health(Protocol):
    async def problems(
        self, environment: Environment, secrets: EnvironmentSecrets, plan: Plan, observed: Mapping[str, ComponentState]
    ) -> Mapping[str, str]:
        """Component name -> what is wrong with it; empty when every component passed its check."""
        ...


class Endpoints(Protocol):
    """The VPC endpoints that an environment's owner makes (EndpointManagement CUSTOMER)."""

    async def lacking(self, environment: Environment) -> Mapping[str, Sequence[str]]:
        """Endpoint service -> the environment's subnets that it has no available endpoint in; empty when all are there.

        Raises:
            Permanent: a subnet is gone.
        """
        ...


class Logs(Protocol):
    """Logs that outlive their environment, where the installation wants that."""

    async def keep(self, environment_id: str, key: EnvironmentKey) -> bool:
        """Take the logs out of what is about to be removed; whether any are kept. Nothing of it runs any more."""
        ...


class Journal(Protocol):
    async def record(
        self, environment: Environment, type_: str, message: str, data: Mapping[str, Any] | None = None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Services:
    backend: Backend
    runtimes: Runtimes
    databases: Databases
    brokers: Brokers
    content: Content
    objects: Objects
    routes: Routes
    health: Health
    endpoints: Endpoints
    logs: Logs

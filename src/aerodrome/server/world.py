"""The reconciler's world, made of the real parts: what `reconcile.ports` asks for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aerodrome.aws.network import Network
from aerodrome.content.credentials import RoleCredentials
from aerodrome.content.loop import ContentLoop, session_name, source_of
from aerodrome.content.sync import holds
from aerodrome.domain import versions
from aerodrome.domain.component import Component, ComponentKind, ComponentState
from aerodrome.domain.endpoints import endpoint_services
from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.plan import Plan, Site, build, script_variables, web_servers
from aerodrome.domain.secrets import EnvironmentSecrets
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.reconcile.ports import ContentState
from aerodrome.runtimes import build as build_job
from aerodrome.runtimes import database, template
from aerodrome.runtimes.inventory import INTERFACE, interface
from aerodrome.runtimes.key import choose_python, find_python, is_ready, runtime_key, split_key
from aerodrome.runtimes.soundness import Soundness
from aerodrome.store.events import EventStore


class RuntimePlanner:
    """Plans environments in the runtime that they are pinned to, or else in the current one of their version."""

    def __init__(self, site: Site, *, as_other_user: bool) -> None:
        self._site = site
        self._as_other_user = as_other_user
        self._chosen: dict[str, tuple[str, str]] = {}  # version -> current runtime, path of its Python
        self._keys: dict[tuple[str, str], str] = {}  # version, Python -> runtime that this release makes of them

    def runtime(self, version: str) -> str:
        """The key of the version's current runtime. Looks for a Python the first time, which takes a moment.

        Raises:
            Permanent: there is no Python for it.
        """
        if version not in self._chosen or not os.access(self._chosen[version][1], os.X_OK):
            python, path = choose_python(versions.get(version), as_other_user=self._as_other_user)
            self._chosen[version] = (self._key(version, python), path)
        return self._chosen[version][0]

    def python(self, runtime: str) -> str:
        """The path of the Python that the runtime is built with. Blocking.

        Raises:
            Permanent: there is none any more.
        """
        python = split_key(runtime)[1]
        path = find_python(python, as_other_user=self._as_other_user)
        if path is None:
            raise Permanent(f"The runtime {runtime} needs Python {python}, which is gone. Install it again.")
        return path

    def can_build(self, runtime: str) -> bool:
        """Whether this release, on this machine, would make that very runtime. Blocking."""
        version, python = split_key(runtime)
        try:
            same = self._key(version, python) == runtime
        except Permanent:  # no lock is shipped for that pair any more
            return False
        return same and find_python(python, as_other_user=self._as_other_user) is not None

    def _key(self, version: str, python: str) -> str:
        if (version, python) not in self._keys:
            self._keys[version, python] = runtime_key(version, python)
        return self._keys[version, python]

    def plan(self, environment: Environment, secrets: EnvironmentSecrets) -> Plan:
        runtime = environment.runtime or self.runtime(environment.desired["AirflowVersion"])
        return build(environment, secrets, self._site, runtime)

    def script_variables(self, environment: Environment, secrets: EnvironmentSecrets) -> dict[str, str]:
        """What a startup script sees of its environment."""
        return script_variables(environment, secrets, self._site)


class RuntimeJobs:
    """Builds runtimes and their template databases as jobs of the backend. `variables`: how to reach the registry."""

    scope = "runtimes"

    def __init__(
        self,
        layout: Layout,
        postgres_url: str,
        *,
        user: str | None,
        variables: Mapping[str, str],
        planner: RuntimePlanner,
    ) -> None:
        self._layout = layout
        self._postgres_url = postgres_url
        self._user = user
        self._variables = variables
        self._planner = planner
        self._soundness = Soundness(layout)

    async def pin(self, version: str, pinned: str | None) -> str:
        """As `reconcile.ports.Runtimes`."""
        if pinned is not None and split_key(pinned)[0] == version:
            here = is_ready(self._layout, pinned) and interface(self._layout.runtime(pinned)) == INTERFACE
            if here and await self._soundness.damage(pinned) is None:
                return pinned
            if await asyncio.to_thread(self._planner.can_build, pinned):
                return pinned
        return await asyncio.to_thread(self._planner.runtime, version)

    async def damage(self, runtime: str, *, suspicious: bool = False) -> str | None:
        return await self._soundness.damage(runtime, suspicious=suspicious)

    def is_settling(self, runtime: str) -> bool:
        return self._soundness.is_settling(runtime)

    async def is_built(self, runtime: str) -> bool:
        return is_ready(self._layout, runtime) and await self._soundness.damage(runtime) is None

    def build_job(self, runtime: str) -> Component:
        version = runtime.split("-", 1)[0]
        argv = build_job.argv(self._layout, version, self._planner.python(runtime), runtime)
        return _job(f"build-{_label(runtime)}", argv, self._variables, {})

    async def has_template(self, runtime: str) -> bool:
        return await template.is_ready(self._postgres_url, runtime)

    def template_job(self, runtime: str) -> Component:
        argv = template.argv(self._layout, runtime, self._user)
        return _job(
            f"template-{_label(runtime)}", argv, self._variables, {"AERODROME_TEMPLATE_URL": self._postgres_url}
        )


class MetadataDatabases:
    def __init__(self, postgres_url: str) -> None:
        self._postgres_url = postgres_url

    async def ensure(
        self, environment_id: str, runtime: str, password: str, connection_limit: int, *, may_shrink: bool = True
    ) -> None:
        await database.clone(
            self._postgres_url, runtime, environment_id, password, connection_limit, may_shrink=may_shrink
        )

    async def drop(self, environment_id: str) -> None:
        await database.drop(self._postgres_url, environment_id)


class BucketContent:
    """The content loop, as the reconciler asks about it."""

    def __init__(self, loop: ContentLoop, layout: Layout, credentials: RoleCredentials) -> None:
        self._loop = loop
        self._layout = layout
        self._credentials = credentials

    async def ensure(self, environment: Environment) -> ContentState:
        state = self._loop.state_of(source_of(environment))
        error = None if state.error is None else str(state.error)
        if state.last_success is not None:
            return ContentState(state.last_success, error)
        brought = await asyncio.to_thread(self._brought, environment)
        if brought is not None:
            return ContentState(brought, error)
        if isinstance(state.error, Permanent):
            raise state.error
        if error is None:
            self._loop.poke(environment.id)
        return ContentState(None, error)

    def _brought(self, environment: Environment) -> datetime | None:
        """When an earlier life of ours brought the DAGs: what ran before must not wait for its bucket to run again.

        In an update they may be those of the bucket before.
        """
        source = source_of(environment)
        if environment.status is Status.CREATING:
            return None
        if environment.status in (Status.UPDATING, Status.ROLLING_BACK) and not holds(
            self._layout, environment.id, source.bucket, source.prefix
        ):
            return None
        try:
            return datetime.fromtimestamp(self._layout.dags(environment.id).lstat().st_mtime, UTC)
        except OSError:
            return None

    async def drop(self, environment_id: str) -> None:
        await self._loop.forget(environment_id)
        self._credentials.forget_session(session_name(environment_id))


class CustomerEndpoints:
    """The endpoints that owners make, as EC2 tells of them."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def lacking(self, environment: Environment) -> Mapping[str, Sequence[str]]:
        services = endpoint_services(environment.id, environment.key, environment.desired)
        subnets = environment.desired["NetworkConfiguration"]["SubnetIds"]
        return await self._network.lacking(environment.key, subnets, services.values())


class EventJournal:
    def __init__(self, events: EventStore) -> None:
        self._events = events

    async def record(
        self, environment: Environment, type_: str, message: str, data: Mapping[str, Any] | None = None
    ) -> None:
        await self._events.append(environment.id, environment.key, type_, message, data=data)


def web_addresses(environment: Environment, plan: Plan, observed: Mapping[str, ComponentState]) -> list[str]:
    """Where the web servers answer that requests go to."""
    return [next(iter(observed[name].addresses.values())) for name in web_servers(environment, plan, observed)]


def _label(runtime: str) -> str:
    """A runtime's key as a DNS label."""
    return "".join(letter if letter.isalnum() else "-" for letter in runtime)


def _job(name: str, argv: list[str], variables: Mapping[str, str], secrets: Mapping[str, str]) -> Component:
    return Component(
        name=name,
        slot=name,
        kind=ComponentKind.JOB,
        runtime="",
        command=tuple(word.replace("{", "{{").replace("}", "}}") for word in argv),
        variables=variables,
        secrets=secrets,
    )

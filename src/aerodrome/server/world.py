"""The reconciler's world, made of the real parts: what `reconcile.ports` asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from aerodrome.content.credentials import RoleCredentials
from aerodrome.content.loop import ContentLoop, session_name
from aerodrome.domain import versions
from aerodrome.domain.component import Component, ComponentKind, ComponentState, Phase
from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.plan import Plan, Site, build
from aerodrome.domain.secrets import EnvironmentSecrets
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.reconcile.ports import ContentState
from aerodrome.runtimes import build as build_job
from aerodrome.runtimes import database, template
from aerodrome.runtimes.key import choose_python, is_ready, runtime_key
from aerodrome.store.events import EventStore


class RuntimePlanner:
    """Plans environments in the runtime of their version; a version's Python is chosen once per process."""

    def __init__(self, site: Site, *, as_other_user: bool) -> None:
        self._site = site
        self._as_other_user = as_other_user
        self._chosen: dict[str, tuple[str, str]] = {}  # version -> runtime, path of its Python

    def runtime(self, version: str) -> str:
        """The key of the version's runtime. Looks for a Python the first time, which takes a moment."""
        return self._choose(version)[0]

    def python(self, runtime: str) -> str:
        """The path of the Python that the runtime is built with."""
        return self._choose(runtime.split("-", 1)[0])[1]

    def _choose(self, version: str) -> tuple[str, str]:
        if version not in self._chosen:
            python, path = choose_python(versions.get(version), as_other_user=self._as_other_user)
            self._chosen[version] = (runtime_key(version, python), path)
        return self._chosen[version]

    def plan(self, environment: Environment, secrets: EnvironmentSecrets) -> Plan:
        return build(environment, secrets, self._site, self.runtime(environment.desired["AirflowVersion"]))


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

    async def is_built(self, runtime: str) -> bool:
        return is_ready(self._layout, runtime)

    def build_job(self, runtime: str) -> Component:
        version = runtime.split("-", 1)[0]
        argv = build_job.argv(self._layout, version, self._planner.python(runtime))
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

    async def ensure(self, environment_id: str, runtime: str, password: str, connection_limit: int) -> None:
        await database.clone(self._postgres_url, runtime, environment_id, password, connection_limit)

    async def drop(self, environment_id: str) -> None:
        await database.drop(self._postgres_url, environment_id)


class BucketContent:
    """The content loop, as the reconciler asks about it."""

    def __init__(self, loop: ContentLoop, layout: Layout, credentials: RoleCredentials) -> None:
        self._loop = loop
        self._layout = layout
        self._credentials = credentials

    async def ensure(self, environment: Environment) -> ContentState:
        state = self._loop.state(environment.id)
        error = None if state.error is None else str(state.error)
        if state.last_success is not None:
            return ContentState(state.last_success, error)
        if environment.status is not Status.CREATING:
            # Brought by an earlier life of ours: what ran before must not wait for its bucket to run again.
            try:
                brought = self._layout.dags(environment.id).lstat().st_mtime
            except OSError:
                pass
            else:
                return ContentState(datetime.fromtimestamp(brought, UTC), error)
        if isinstance(state.error, Permanent):
            raise state.error
        if error is None:
            self._loop.poke(environment.id)
        return ContentState(None, error)

    async def drop(self, environment_id: str) -> None:
        await self._loop.forget(environment_id)
        self._credentials.forget_session(session_name(environment_id))


class EventJournal:
    def __init__(self, events: EventStore) -> None:
        self._events = events

    async def record(
        self, environment: Environment, type_: str, message: str, data: Mapping[str, Any] | None = None
    ) -> None:
        await self._events.append(environment.id, environment.key, type_, message, data=data)


def tool(plan: Plan, argv: tuple[str, ...]) -> Component:
    """The one-off component that runs `airflow ARGV…`; argv would show secrets among the arguments to everybody."""
    given = {"AERODROME_ARGUMENTS": json.dumps(argv, ensure_ascii=False)}
    return replace(plan.tool, command=versions.airflow_command(), secrets={**plan.tool.secrets, **given})


def web_addresses(plan: Plan, observed: Mapping[str, ComponentState]) -> list[str]:
    """Where web servers that run answer: the planned ones, or the old ones while the planned ones start."""
    planned = {component.name for component in plan.of(ComponentKind.WEB_SERVER)}
    running = {
        name: next(iter(state.addresses.values()))
        for name, state in observed.items()
        if name.startswith(f"{ComponentKind.WEB_SERVER}-") and state.phase is Phase.RUNNING and state.addresses
    }
    return [running[name] for name in sorted(planned & running.keys())] or [running[name] for name in sorted(running)]


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

"""A world for the reconciler that remembers what it was told, fails on request, and outlives a control plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from aerodrome.backends.fake import FakeBackend
from aerodrome.domain.airflow_version import LONGEST_TASK
from aerodrome.domain.component import Component, ComponentKind, ComponentState, Phase
from aerodrome.domain.endpoints import endpoint_services
from aerodrome.domain.environment import Environment, EnvironmentKey, LastUpdate, Status
from aerodrome.domain.option_readers import relevant
from aerodrome.domain.plan import Plan, name_component, web_servers
from aerodrome.domain.secrets import EnvironmentSecrets
from aerodrome.errors import AerodromeError, Permanent
from aerodrome.reconcile.ports import ContentState, Endpoints, Services

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECRETS = EnvironmentSecrets("fernet", "secret", "jwt", "db", "broker", "identity", "token")


def component(
    slot: str,
    kind: ComponentKind,
    version: str = "1",
    runtime: str = "3.3.1-test",
    options: Mapping[str, str] = MappingProxyType({}),
    revision: int = 0,
) -> Component:
    variables = relevant(options, kind, shows_all=False)
    draft = Component(
        name="",
        slot=slot,
        kind=kind,
        runtime=runtime,
        command=(kind.value, version),
        variables=variables,
        unread={name: value for name, value in options.items() if name not in variables},
        ports=("web",) if "web" in slot else (),
        grace=LONGEST_TASK if kind is ComponentKind.WORKER else 60,
    )
    return name_component(draft, revision)


@dataclass
class World:
    """Implements every port but the backend, which is a FakeBackend."""

    backend: FakeBackend = field(default_factory=FakeBackend)
    scope: str = "runtimes"
    databases: set[str] = field(default_factory=set)
    limits: dict[str, int] = field(default_factory=dict)  # environment id -> connections that its role may have
    brokers: set[str] = field(default_factory=set)
    content: set[str] = field(default_factory=set)
    routes: set[str] = field(default_factory=set)
    ways: dict[str, list[str]] = field(default_factory=dict)  # environment id -> web servers that it is led to
    sick: dict[str, str] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)
    results: set[str] = field(default_factory=set)
    version: str = "1"
    unplannable: bool = False
    bucket_error: str | None = None
    current: str = "3.3.1-test"  # the runtime that new environments get
    gone: set[str] = field(default_factory=set)  # runtimes that can neither be used nor made again
    broken: str | None = None  # what is damaged of the runtime; another build mends it
    built_before: object = None
    settling: bool = False
    keeps_logs: bool = True
    kept: dict[str, EnvironmentKey] = field(default_factory=dict)  # environment id -> whose logs
    vpc_endpoints: set[str] = field(default_factory=set)  # services that an owner has made one for
    asked_for_endpoints: list[str] = field(default_factory=list)  # environment ids
    ec2: AerodromeError | None = None  # raised instead of telling of endpoints
    endpoints: Endpoints | None = None  # to ask instead

    def services(self) -> Services:
        return Services(
            backend=self.backend,
            runtimes=self,
            databases=_Databases(self.databases, self.limits),
            brokers=_Set(self.brokers),
            content=_Content(self.content, self),
            routes=_Routes(self.routes, self),
            health=self,
            endpoints=self.endpoints or self,
            logs=self,
        )

    def left_of(self, environment_id: str) -> list[str]:
        """What still belongs to the environment."""
        kept = {"database": self.databases, "broker": self.brokers, "content": self.content, "route": self.routes}
        left = [name for name, ids in kept.items() if environment_id in ids]
        if self.backend.components.get(environment_id):
            left.append("components")
        if environment_id in self.backend.known:
            left.append("files")
        return left

    def plan(self, environment: Environment, secrets: EnvironmentSecrets) -> Plan:
        if self.unplannable:
            raise Permanent("Airflow 1.0 is not among the versions that Aerodrome has.")
        kinds, runtime = ComponentKind, environment.runtime or self.current
        options = environment.desired.get("AirflowConfigurationOptions", {})
        workers = environment.desired.get("MinWorkers", 1)
        slots = {"webserver-1": kinds.WEB_SERVER, "scheduler-1": kinds.SCHEDULER}
        slots |= {f"worker-{number}": kinds.WORKER for number in range(1, workers + 1)}
        components = tuple(
            component(slot, kind, self.version, runtime, options, environment.revision) for slot, kind in slots.items()
        )
        limit = 10 if environment.status is Status.AVAILABLE else 20
        return Plan(runtime, components, component("tool", kinds.JOB), limit)

    async def pin(self, version: str, pinned: str | None) -> str:
        return self.current if pinned is None or pinned in self.gone else pinned

    async def damage(self, runtime: str, *, suspicious: bool = False) -> str | None:
        return self.broken

    def harm_runtime(self, damage: str) -> None:
        self.broken, self.built_before = damage, self.backend.components.get(self.scope, {}).get("build")

    def is_settling(self, runtime: str) -> bool:
        return self.settling

    async def is_built(self, runtime: str) -> bool:
        build = self.backend.components.get(self.scope, {}).get("build")
        if build is not self.built_before and (await self._state("build")) is Phase.SUCCEEDED:
            self.broken = None
        if self.broken is not None:
            return False
        return await self._has_run("build")

    def build_job(self, runtime: str) -> Component:
        return Component("build", "build", ComponentKind.JOB, "", ("build",))

    async def has_template(self, runtime: str) -> bool:
        return await self._has_run("template")

    def template_job(self, runtime: str) -> Component:
        return Component("template", "template", ComponentKind.JOB, "", ("template",))

    async def _has_run(self, name: str) -> bool:
        """Whether the job's result is there; as in life it outlives the job."""
        if await self._state(name) is Phase.SUCCEEDED:
            self.results.add(name)
        return name in self.results

    async def _state(self, name: str) -> Phase | None:
        state = (await self.backend.observe(self.scope)).get(name)
        return None if state is None else state.phase

    async def problems(
        self, environment: Environment, secrets: EnvironmentSecrets, plan: Plan, observed: Mapping[str, ComponentState]
    ) -> Mapping[str, str]:
        return dict(self.sick)

    async def lacking(self, environment: Environment) -> Mapping[str, Sequence[str]]:
        self.asked_for_endpoints.append(environment.id)
        if self.ec2 is not None:
            raise self.ec2
        services = endpoint_services(environment.id, environment.key, environment.desired).values()
        subnets = environment.desired["NetworkConfiguration"]["SubnetIds"]
        return {service: subnets for service in services if service not in self.vpc_endpoints}

    async def keep(self, environment_id: str, key: EnvironmentKey) -> bool:
        if self.keeps_logs and environment_id in self.backend.known:
            self.kept[environment_id] = key
        return environment_id in self.kept

    async def record(
        self, environment: Environment, type_: str, message: str, data: Mapping[str, Any] | None = None
    ) -> None:
        self.told.append((type_, message))


@dataclass
class _Set:
    ids: set[str]

    async def ensure(self, environment_id: str, *rest: object) -> None:
        self.ids.add(environment_id)

    async def drop(self, environment_id: str) -> None:
        self.ids.discard(environment_id)


@dataclass
class _Databases(_Set):
    limits: dict[str, int]

    async def ensure(
        self, environment_id: str, runtime: str, password: str, connection_limit: int, *, may_shrink: bool = True
    ) -> None:
        await super().ensure(environment_id)
        least = 0 if may_shrink else self.limits.get(environment_id, 0)
        self.limits[environment_id] = max(connection_limit, least)


@dataclass
class _Content:
    ids: set[str]
    world: World

    async def ensure(self, environment: Environment) -> ContentState:
        first = environment.id not in self.ids
        self.ids.add(environment.id)
        return ContentState(None if first else NOW, self.world.bucket_error)

    async def drop(self, environment_id: str) -> None:
        self.ids.discard(environment_id)


@dataclass
class _Routes:
    ids: set[str]
    world: World

    async def ensure(self, environment: Environment, plan: Plan, observed: Mapping[str, ComponentState]) -> None:
        self.ids.add(environment.id)
        self.world.ways[environment.id] = web_servers(environment, plan, observed)

    async def drop(self, environment_id: str) -> None:
        self.ids.discard(environment_id)


def environment(name: str = "demo", region: str = "eu-west-1", id_: str = "0123456789ab") -> Environment:
    return Environment(
        id=id_,
        key=EnvironmentKey("aws", "100000000001", region, name),
        status=Status.CREATING,
        desired={"AirflowVersion": "3.3.1", "AirflowConfigurationOptions": {"core.parallelism": "7"}},
        applied=None,
        last_update=LastUpdate("PENDING", NOW),
        host="127.83.1.1",
        created_at=NOW,
        generation=1,
    )

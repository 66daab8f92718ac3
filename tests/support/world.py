"""A world for the reconciler that remembers what it was told, fails on request, and outlives a control plane."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from aerodrome.backends.fake import FakeBackend
from aerodrome.domain import products
from aerodrome.domain.airflow_version import LONGEST_TASK
from aerodrome.domain.component import Component, ComponentKind, ComponentState, Phase
from aerodrome.domain.endpoints import endpoint_services
from aerodrome.domain.environment import Environment, EnvironmentKey, LastUpdate, Status
from aerodrome.domain.option_readers import relevant
from aerodrome.domain.plan import Plan, name_component, web_servers
from aerodrome.domain.products import Content, Part, Product
from aerodrome.domain.secrets import EnvironmentSecrets
from aerodrome.domain.update import in_force
from aerodrome.errors import AerodromeError, Permanent
from aerodrome.reconcile.ports import ContentState, Endpoints, Made, Making, Services

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECRETS = EnvironmentSecrets("fernet", "secret", "jwt", "db", "broker", "identity", "token")


def component(
    slot: str,
    kind: ComponentKind,
    version: str = "1",
    runtime: str = "3.3.1-test",
    options: Mapping[str, str] = MappingProxyType({}),
    revision: int = 0,
    content: Content | None = None,
) -> Component:
    variables = relevant(options, kind, shows_all=False)
    made = content or Content(runtime)
    draft = Component(
        name="",
        slot=slot,
        kind=kind,
        runtime=made.runtime,
        command=(kind.value, version),
        variables=variables,
        templates={} if made.plugins is None else {"plugins": made.plugins},
        secrets=made.exports.get("worker", {}),
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
    objects: dict[str, set[str]] = field(default_factory=dict)  # environment id -> what was made of its objects
    begun: set[tuple[str, str]] = field(default_factory=set)  # environment id, product that is being made
    unmakeable: dict[str, AerodromeError] = field(default_factory=dict)  # version of an object -> why
    unchanged: set[str] = field(default_factory=set)  # versions of which the same is made as of version 1
    routes: set[str] = field(default_factory=set)
    ways: dict[str, list[str]] = field(default_factory=dict)  # environment id -> web servers that it is led to
    modes: dict[str, str | None] = field(default_factory=dict)  # environment id -> access mode of its route
    sick: dict[str, str] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)
    told_data: list[Mapping[str, Any]] = field(default_factory=list)  # of each
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
            objects=_Objects(self),
            routes=_Routes(self.routes, self),
            health=self,
            endpoints=self.endpoints or self,
            logs=self,
        )

    def left_of(self, environment_id: str) -> list[str]:
        """What still belongs to the environment."""
        kept: dict[str, Collection[str]] = {
            "database": self.databases,
            "broker": self.brokers,
            "content": self.content,
            "route": self.routes,
            "objects": self.objects,
        }
        left = [name for name, ids in kept.items() if environment_id in ids]
        if self.backend.components.get(environment_id):
            left.append("components")
        if environment_id in self.backend.known:
            left.append("files")
        return left

    def check_running(self, environment_id: str) -> None:
        """Whatever runs, draining ones included, has all that it was made of."""
        there = self.objects.get(environment_id, set())
        for name, running in self.backend.components.get(environment_id, {}).items():
            each = running.component
            needed = [*each.templates.values(), *each.secrets.values()]
            needed += [each.runtime] if "-own-" in each.runtime else []
            assert there >= set(needed), f"{name} lacks {set(needed) - there}"

    def plan(self, environment: Environment, secrets: EnvironmentSecrets) -> Plan:
        if self.unplannable:
            raise Permanent("Airflow 1.0 is not among the versions that Aerodrome has.")
        kinds, runtime = ComponentKind, environment.runtime or self.current
        options = environment.desired.get("AirflowConfigurationOptions", {})
        workers = environment.desired.get("MinWorkers", 1)
        slots = {"webserver-1": kinds.WEB_SERVER, "scheduler-1": kinds.SCHEDULER}
        slots |= {f"worker-{number}": kinds.WORKER for number in range(1, workers + 1)}
        content = products.content(environment, runtime)
        components = tuple(
            component(slot, kind, self.version, runtime, options, environment.revision, content)
            for slot, kind in slots.items()
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
        self.told_data.append(data or {})


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
class _Objects:
    world: World

    async def make(
        self, environment: Environment, secrets: EnvironmentSecrets, part: Part, *, suspicious: bool = False
    ) -> Making | Made:
        version = environment.desired[f"{part}S3ObjectVersion"]
        if version in self.world.unmakeable:
            raise self.world.unmakeable[version]
        product = made_of(part, "1" if version in self.world.unchanged else version)
        (name,) = names_in(product)
        if name not in self.world.objects.get(environment.id, ()) and (environment.id, name) not in self.world.begun:
            self.world.begun.add((environment.id, name))
            return Making(f"Making {part}")
        self.world.objects.setdefault(environment.id, set()).add(name)
        return Made(product, f"{part} {version}", {"fetch": 0.1})

    async def tidy(self, environment: Environment) -> None:
        used = {name for product in products.in_use(environment).values() for name in names_in(product)}
        self.world.objects.get(environment.id, set()).intersection_update(used)
        self.world.check_running(environment.id)

    async def drop(self, environment_id: str) -> None:
        assert not self.world.backend.components.get(environment_id), "something runs that may use it"
        self.world.objects.pop(environment_id, None)
        self.world.begun = {each for each in self.world.begun if each[0] != environment_id}


def made_of(part: Part, version: str) -> Product:
    match part:
        case Part.PLUGINS:
            return {"tree": f"tree-{version}"}
        case Part.STARTUP:
            return {"exports": {"worker": {"EXPORTED": f"exports-{version}"}}}
        case Part.REQUIREMENTS:
            return {"runtime": f"3.3.1-own-{version}"}


def names_in(product: Product) -> list[str]:
    exports = product.get("exports", {}).get("worker", {}).get("EXPORTED")
    return [name for name in (product.get("tree"), product.get("runtime"), exports) if name]


@dataclass
class _Routes:
    ids: set[str]
    world: World

    async def ensure(self, environment: Environment, plan: Plan, observed: Mapping[str, ComponentState]) -> None:
        self.ids.add(environment.id)
        self.world.ways[environment.id] = web_servers(environment, plan, observed)
        self.world.modes[environment.id] = in_force(environment).desired.get("WebserverAccessMode")

    async def drop(self, environment_id: str) -> None:
        self.ids.discard(environment_id)


OBJECTS = {
    "SourceBucketArn": "arn:aws:s3:::bucket",
    **{f"{part}S3Path": part.value for part in Part},
    **{f"{part}S3ObjectVersion": "1" for part in Part},
}
NEW_OBJECTS = {f"{part}S3ObjectVersion": "2" for part in Part}


def environment(
    name: str = "demo", region: str = "eu-west-1", id_: str = "0123456789ab", **members: Any
) -> Environment:
    return Environment(
        id=id_,
        key=EnvironmentKey("aws", "100000000001", region, name),
        status=Status.CREATING,
        desired={"AirflowVersion": "3.3.1", "AirflowConfigurationOptions": {"core.parallelism": "7"}, **members},
        applied=None,
        last_update=LastUpdate("PENDING", NOW),
        host="127.83.1.1",
        created_at=NOW,
        generation=1,
    )

"""What should run for an environment: pure arithmetic from what was asked for to named components."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from aerodrome.domain import airflow_config, classes, products, versions
from aerodrome.domain.component import Component, ComponentKind, ComponentState, Phase
from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.secrets import EnvironmentSecrets

HASH_LENGTH = 6


@dataclass(frozen=True, slots=True)
class Site:
    """What every environment of an installation shares. URLs are as components see them."""

    database_address: str  # host:port of PostgreSQL
    broker_address: str  # host:port of Valkey
    broker_scheme: str  # redis, or rediss with TLS
    control_url: str  # of our own endpoint, for execution credentials: "http://127.0.0.1:4610"
    aws_endpoint_url: str | None = None
    aws_endpoint_urls: Mapping[str, str] = field(default_factory=dict)
    ca_bundle: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)  # of every component, besides its configuration
    confined: bool = False  # whether components see their own environment alone


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an environment needs, by name. Equal inputs give equal plans, names included."""

    runtime: str  # the one without additions: what an environment's own is made of, and its database cloned for
    components: tuple[Component, ...]
    tool: Component  # the shape of a one-off `airflow …` command: its command is replaced
    connection_limit: int  # of the environment's database role

    @property
    def names(self) -> frozenset[str]:
        return frozenset(component.name for component in self.components)

    def of(self, kind: ComponentKind) -> tuple[Component, ...]:
        return tuple(component for component in self.components if component.kind is kind)


# For an environment that is to stop or to go: it must be possible to take down what can no longer be planned.
NOTHING = Plan("", (), Component(name="tool", slot="tool", kind=ComponentKind.JOB, runtime="", command=()), 0)


def broker_user(environment_id: str) -> str:
    return f"env-{environment_id}"


def broker_prefix(environment_id: str) -> str:
    """What every key and channel of the environment starts with."""
    return f"{environment_id}:"


def database_url(environment_id: str, secrets: EnvironmentSecrets, address: str) -> str:
    """The environment's own way to its metadata database, at PostgreSQL's `host:port`."""
    name = f"env_{environment_id}"
    return f"postgresql://{name}:{quote(secrets.database_password, safe='')}@{address}/{name}"


def build(environment: Environment, secrets: EnvironmentSecrets, site: Site, runtime: str) -> Plan:
    """The plan of an environment in the runtime of that key, or in what its requirements made of it.

    Raises:
        Permanent: the version or class is unknown to this release.
    """
    facts, content = _facts(environment, secrets, site), products.content(environment, runtime)
    options = environment.desired.get("AirflowConfigurationOptions") or {}
    counts = {
        ComponentKind.WEB_SERVER: environment.desired["MinWebservers"],
        ComponentKind.SCHEDULER: environment.desired["Schedulers"],
        ComponentKind.DAG_PROCESSOR: 1,
        ComponentKind.TRIGGERER: 1,
        ComponentKind.WORKER: environment.desired["MinWorkers"],
    }
    components = []
    for kind, template in facts.version.components.items():
        configuration = airflow_config.build(facts, kind, options, content)
        draft = Component(
            name="",
            slot="",
            kind=kind,
            runtime=content.runtime,
            command=template.command,
            variables={**configuration.variables, **site.variables},
            templates=configuration.templates,
            secrets=configuration.secrets,
            unread=configuration.unread,
            ports=template.ports,
            shared_port=template.shared_port,
            health_path=template.health_path,
            grace=template.grace,
            confined=site.confined,
        )
        components += [
            name_component(replace(draft, slot=f"{kind}-{n}"), environment.revision) for n in range(1, counts[kind] + 1)
        ]
    configuration = airflow_config.build(facts, ComponentKind.JOB, options, content)
    tool = Component(
        name="tool",
        slot="tool",
        kind=ComponentKind.JOB,
        runtime=content.runtime,
        command=versions.airflow_command("version"),
        variables={**configuration.variables, **site.variables},
        templates=configuration.templates,
        secrets=configuration.secrets,
        confined=site.confined,
    )
    return Plan(runtime, tuple(components), tool, _connection_limit(environment, secrets, site))


def script_variables(environment: Environment, secrets: EnvironmentSecrets, site: Site) -> dict[str, str]:
    """What a startup script sees of its environment, besides who it runs for; secrets among it."""
    return airflow_config.script_variables(_facts(environment, secrets, site))


def _connection_limit(environment: Environment, secrets: EnvironmentSecrets, site: Site) -> int:
    """Twice as many while one set of components takes over from another: both are there."""
    limit = airflow_config.connection_limit(_facts(environment, secrets, site))
    if environment.applied is None or environment.status is Status.AVAILABLE:
        return limit
    before = replace(environment, desired=environment.applied)
    return limit + max(limit, airflow_config.connection_limit(_facts(before, secrets, site)))


def _facts(environment: Environment, secrets: EnvironmentSecrets, site: Site) -> airflow_config.Facts:
    prefix = broker_prefix(environment.id)
    logging = environment.desired.get("LoggingConfiguration") or {}
    broker_password = quote(secrets.broker_password, safe="")
    return airflow_config.Facts(
        version=versions.get(environment.desired["AirflowVersion"]),
        environment_class=classes.get(environment.desired["EnvironmentClass"]),
        key=environment.key,
        environment_id=environment.id,
        host=environment.host,
        database_url=database_url(environment.id, secrets, site.database_address),
        broker_url=f"{site.broker_scheme}://{broker_user(environment.id)}:{broker_password}@{site.broker_address}/0",
        broker_prefix=prefix,
        fernet_key=secrets.fernet_key,
        secret_key=secrets.secret_key,
        jwt_secret=secrets.jwt_secret,
        identity_secret=secrets.identity_secret,
        log_levels={module: each["LogLevel"] for module, each in logging.items() if each.get("Enabled")},
        max_workers=environment.desired["MaxWorkers"],
        web_servers=environment.desired["MaxWebservers"],
        schedulers=environment.desired["Schedulers"],
        aws_endpoint_url=site.aws_endpoint_url,
        aws_endpoint_urls=site.aws_endpoint_urls,
        credentials_url=f"{site.control_url}/_aerodrome/credentials/{environment.id}",
        credentials_token=secrets.credentials_token,
        ca_bundle=site.ca_bundle,
    )


def in_free_names(plan: Plan, observed: Mapping[str, ComponentState]) -> Plan:
    """The plan in names that can be had: while a component drains, which may take hours, its name is taken.

    Who is planned again in the meantime, since an update is undone or the load grew, gets the next name of its own
    (`worker-1-1f3a2b`, `worker-1-1f3a2bx2`), and keeps it. What is observed says all that there is to know.
    """
    return replace(plan, components=tuple(_in_free_name(component, observed) for component in plan.components))


def _in_free_name(component: Component, observed: Mapping[str, ComponentState]) -> Component:
    own = re.compile(rf"{re.escape(component.name)}(?:x(\d+))?")
    taken = {int(match[1] or 1): name for name in observed if (match := own.fullmatch(name))}
    there = [number for number, name in taken.items() if observed[name].phase is not Phase.DRAINING]
    number = min(there) if there else max(taken, default=0) + 1
    return component if number == 1 else replace(component, name=f"{component.name}x{number}")


def web_servers(environment: Environment, plan: Plan, observed: Mapping[str, ComponentState]) -> list[str]:
    """The names of the running web servers that requests go to: one set of them, the one that is known to be well.

    Those that the plan replaces serve until its own are healthy, and are drained then. In a roll back it is the other
    way round: what the plan doesn't have is what failed.
    """
    running = sorted(
        name
        for name, state in observed.items()
        if name.startswith(f"{ComponentKind.WEB_SERVER}-") and state.phase is Phase.RUNNING and state.addresses
    )
    planned = [name for name in running if name in plan.names]
    others = [name for name in running if name not in plan.names]
    if environment.status in (Status.ROLLING_BACK, Status.UNAVAILABLE):
        return planned or others
    return others or planned


def name_component(draft: Component, revision: int = 0) -> Component:
    """The draft with its name: the slot and a hash of all that it is made of, so that a change is a new component.

    So is a new `revision`, of one that didn't change otherwise.
    """
    spec: dict[str, object] = {
        "kind": draft.kind,
        "runtime": draft.runtime,
        "command": draft.command,
        "variables": _sorted(draft.variables),
        "templates": _sorted(draft.templates),
        "secrets": _sorted(draft.secrets),
        "ports": draft.ports,
        "shared": draft.shared_port,
        "health": draft.health_path,
        "grace": draft.grace,
    }
    if draft.confined:
        spec["confined"] = True
    if revision:
        spec["revision"] = revision
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:HASH_LENGTH]
    return replace(draft, name=f"{draft.slot}-{digest}")


def _sorted(mapping: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(mapping.items())

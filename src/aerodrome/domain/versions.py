"""The catalogue of Airflow versions: what differs between them is data here, never an `if` elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from aerodrome.domain.component import ComponentKind
from aerodrome.errors import Permanent

IDENTITY_HEADER = "X-Aerodrome-Identity"
DEFAULT_VERSION = "3.3.1"

# The launcher inside the runtime. `-P`: the working directory is no place to import from.
_LAUNCH = ("python", "-P", "-m", "aerodrome_airflow")
_WORKER = ("python", "-P", "-m", "aerodrome_airflow.worker")


@dataclass(frozen=True, slots=True)
class ComponentTemplate:
    """How one kind of component is run; the words are those of `domain.component.Component`."""

    kind: ComponentKind
    command: tuple[str, ...]
    ports: tuple[str, ...] = ()
    health_path: str | None = None
    grace: int = 60  # seconds


@dataclass(frozen=True, slots=True)
class AirflowVersion:
    """All that the house has to know about one version of Airflow."""

    version: str
    pythons: tuple[str, ...]  # those with a lock; the first one that other users can run is taken
    mwaa_python: str
    constraints_date: str  # of the official constraints: what the lock resolves by
    released: str  # when Airflow's own distributions reached the package registry (ISO date)
    extras: tuple[str, ...]  # MWAA's provider set
    distributions: tuple[str, ...]  # released together with the version, later than `constraints_date`
    components: Mapping[ComponentKind, ComponentTemplate]
    health_path: str
    health_kinds: Mapping[str, ComponentKind]  # key of the health document -> the component it speaks of
    api_prefix: str
    login_path: str
    cookie: str  # that Airflow's own login sets; real clients read this name
    bearer: bool  # the cookie's value also works as `Authorization: Bearer`
    sso_prefix: str  # of the console's sign-in pages (mwaa-spec 7.2)
    migrate: tuple[str, ...]  # argv that makes an empty database ready, and an older one current
    driver: str  # SQLAlchemy's dialect and driver for the metadata database
    names: Mapping[str, str]  # options whose names differ between the majors
    essential: Mapping[str, str] = field(default_factory=dict)  # options that only this line has, never overridden
    opinionated: Mapping[str, str] = field(default_factory=dict)  # likewise, a user may override them


def airflow_command(*arguments: str) -> tuple[str, ...]:
    """The command line of `airflow ARGUMENTS` in a runtime."""
    return (*_LAUNCH, *arguments)


def worker_node(component: str) -> str:
    """The Celery node name of the worker component of that name."""
    return f"celery@{component}"


def _three(health_path: str) -> Mapping[ComponentKind, ComponentTemplate]:
    """The components of Airflow 3.

    Only the web server listens: Airflow's log servers would do so on every address, and the task logs lie in one
    directory that the web server reads itself. The worker's grace is MWAA's longest task, 12 h.
    """
    kind = ComponentKind
    web = airflow_command("api-server", "--port", "{port[web]}", "--proxy-headers")
    worker = (*_WORKER, "--name", "{name}", "--skip-serve-logs", "--without-mingle", "--without-gossip")
    templates = (
        ComponentTemplate(kind.WEB_SERVER, web, ("web",), health_path, grace=30),
        ComponentTemplate(kind.SCHEDULER, airflow_command("scheduler", "--skip-serve-logs")),
        ComponentTemplate(kind.DAG_PROCESSOR, airflow_command("dag-processor")),
        ComponentTemplate(kind.TRIGGERER, airflow_command("triggerer", "--skip-serve-logs")),
        ComponentTemplate(kind.WORKER, worker, grace=43200),
    )
    return MappingProxyType({template.kind: template for template in templates})


_NAMES_3 = MappingProxyType(
    {
        "secret_key": "api.secret_key",
        "base_url": "api.base_url",
        "web_host": "api.host",
        "web_server_config": "fab.config_file",
        "session_lifetime_minutes": "fab.session_lifetime_minutes",
        "new_dag_interval": "dag_processor.refresh_interval",
        "parsing_processes": "dag_processor.parsing_processes",
        "triggerer_capacity": "triggerer.capacity",
        "expose_config": "api.expose_config",
    }
)

_ESSENTIAL_3 = MappingProxyType(
    {
        "core.auth_manager": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
        "core.simple_auth_manager_all_admins": "False",
        "core.multi_team": "False",
        "triggerer.queues_enabled": "False",
        "logging.colored_console_log": "False",
        "logging.logging_config_class": "aerodrome_airflow.logging_config.LOGGING_CONFIG",
        "fab.enable_proxy_fix": "False",
        "fab.auth_role_public": "",
        "fab.cookie_secure": "True",
        "fab.session_backend": "database",
        "api.server_type": "uvicorn",
        "api.workers": "1",
        "api.ssl_cert": "",
        "api.ssl_key": "",
        # A user's token lives as long as MWAA's session (mwaa-spec 7.2), a task's as long as MWAA's longest (6).
        "api_auth.jwt_expiration_time": "43200",
        "execution_api.jwt_expiration_time": "86400",
    }
)

_OPINIONATED_3 = MappingProxyType(
    {
        # Finished tasks hold their slot for this many seconds (measured: 5, the default, halves the throughput).
        "workers.min_heartbeat_interval": "1",
        "dag_processor.refresh_interval": "5",
        "dag_processor.bundle_refresh_check_interval": "5",
        "dag_processor.min_file_process_interval": "30",
        "dag_processor.disable_bundle_versioning": "True",
    }
)

_HEALTH_3 = MappingProxyType(
    {
        "scheduler": ComponentKind.SCHEDULER,
        "dag_processor": ComponentKind.DAG_PROCESSOR,
        "triggerer": ComponentKind.TRIGGERER,
    }
)

_V331 = AirflowVersion(
    version="3.3.1",
    pythons=("3.12", "3.11"),
    mwaa_python="3.12",
    constraints_date="2026-08-12T08:36:00Z",
    released="2026-08-12",
    extras=("celery", "postgres", "amazon", "statsd", "cncf-kubernetes", "fab"),
    distributions=("apache-airflow", "apache-airflow-core", "apache-airflow-task-sdk"),
    components=_three("/api/v2/monitor/health"),
    health_path="/api/v2/monitor/health",
    health_kinds=_HEALTH_3,
    api_prefix="/api/v2",
    login_path="/auth/login/",
    cookie="_token",
    bearer=True,
    sso_prefix="/pluginsv2/aws_mwaa",
    migrate=("python", "-P", "-m", "aerodrome_airflow.migrate"),
    driver="postgresql+psycopg",
    names=_NAMES_3,
    essential=_ESSENTIAL_3,
    opinionated=_OPINIONATED_3,
)

VERSIONS: Mapping[str, AirflowVersion] = MappingProxyType({known.version: known for known in (_V331,)})


def exists(version: str) -> bool:
    return version in VERSIONS


def get(version: str) -> AirflowVersion:
    """The version's entry.

    Raises:
        Permanent: we don't have that version.
    """
    try:
        return VERSIONS[version]
    except KeyError:
        raise Permanent(
            f"Airflow {version!r} is not among the versions that Aerodrome has: {', '.join(VERSIONS)}."
        ) from None


def unhealthy_parts(version: AirflowVersion, payload: Mapping[str, Any], kinds: Collection[ComponentKind]) -> list[str]:
    """What the health document says is not well, as lines for a person; [] means that all `kinds` are healthy.

    The web server answers 200 also when a scheduler is gone: the document's statuses are what counts.
    """
    wanted = ["metadatabase"] + [key for key, kind in version.health_kinds.items() if kind in kinds]
    problems = []
    for key in wanted:
        part = payload.get(key)
        status = part.get("status") if isinstance(part, Mapping) else None
        if status != "healthy":
            problems.append(f"{key} is {status or 'not reporting'}")
    return problems

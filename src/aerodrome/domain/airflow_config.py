"""From the facts of an environment to the variables of its components.

Precedence, low to high (mwaa-spec 5.3, 6): opinionated options, what the startup script exports, the user's
`AirflowConfigurationOptions`, essential options. What a user may not set is refused by `blocked_options` when it is
asked for, and has no effect here. A component starts with the options that it reads (`option_readers`), and all
essential ones; the others it is told, for DAGs that ask. To Airflow an older name of an option is weaker than the newer
one: what we would set gives way to both.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from aerodrome.domain import celery_options
from aerodrome.domain.airflow_options import blocked_options, is_blocked, is_reserved, option_of, plain, variable
from aerodrome.domain.broker import broker_acl
from aerodrome.domain.classes import EnvironmentClass
from aerodrome.domain.component import OPTIONS_KEY, ComponentKind
from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.option_readers import relevant
from aerodrome.domain.products import Content
from aerodrome.domain.versions import AirflowVersion

__all__ = [
    "Configuration",
    "Facts",
    "blocked_options",
    "broker_acl",
    "build",
    "connection_limit",
    "is_reserved",
    "script_variables",
    "variable",
]

VISIBILITY_TIMEOUT = 43200  # seconds: MWAA's longest task; later the broker hands a task out again

# Who the DAGs think they are part of: MWAA has three kinds of container (mwaa-spec 5.3).
_MWAA_COMPONENT = {
    ComponentKind.WEB_SERVER: "webserver",
    ComponentKind.WORKER: "worker",
}
_OTHERS = "scheduler"
_NOTHING = Content("")

# Whose level in `LoggingConfiguration` a component logs with; a worker's own log lines have `celery_logging_level`.
_LOG_MODULE = {
    ComponentKind.DAG_PROCESSOR: "DagProcessingLogs",
    ComponentKind.SCHEDULER: "SchedulerLogs",
    ComponentKind.TRIGGERER: "SchedulerLogs",
    ComponentKind.WEB_SERVER: "WebserverLogs",
    ComponentKind.WORKER: "TaskLogs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the configuration of an environment depends on, besides the user's options.

    URLs carry credentials, percent-encoded. `host` has ":port" unless that is 443. Keys: `secret_key` and
    `jwt_secret` at least 64 characters (HS512), `fernet_key` url-safe base64 of 32 bytes.
    """

    version: AirflowVersion
    environment_class: EnvironmentClass
    key: EnvironmentKey
    environment_id: str
    host: str
    database_url: str = field(repr=False)  # postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE
    broker_url: str = field(repr=False)  # redis://USER:PASSWORD@HOST:PORT/0
    broker_prefix: str  # every key and channel of the environment starts with it
    fernet_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    identity_secret: str = field(repr=False)  # shared with the gateway alone
    max_workers: int = 1
    schedulers: int = 1
    web_servers: int = 1
    bind_address: str = "127.0.0.1"  # where the web server listens
    forwarded_by: str = "127.0.0.1"  # whose X-Forwarded-* headers count
    aws_endpoint_url: str | None = None
    aws_endpoint_urls: Mapping[str, str] = field(default_factory=dict)  # "S3" -> URL: AWS_ENDPOINT_URL_S3
    credentials_url: str | None = None
    credentials_token: str | None = field(default=None, repr=False)
    ca_bundle: str | None = None  # a path as components see it
    log_levels: Mapping[str, str] = field(default_factory=dict)  # "TaskLogs" -> "WARNING"; INFO for what is missing


@dataclass(frozen=True, slots=True)
class Configuration:
    """Environment variables, for the fields of `Component` of the same names."""

    variables: Mapping[str, str]
    templates: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    unread: Mapping[str, str] = field(repr=False)


def build(
    facts: Facts, kind: ComponentKind, options: Mapping[str, str] | None = None, content: Content = _NOTHING
) -> Configuration:
    """The variables of a component of that kind; JOB stands for migrations and the command line."""
    exports = content.exports.get(_MWAA_COMPONENT.get(kind, _OTHERS), {})
    asked = {option: value for name, value in exports.items() if (option := option_of(name))} | dict(options or {})
    chosen = {plain(name): value for name, value in asked.items() if not is_blocked(name.lower())}
    before = facts.version.old_names
    ours = {
        **_opinionated(facts),
        **_log_levels(facts, kind),
        **celery_options.defaults(facts.environment_class, chosen),
    }
    own = (
        {name: value for name, value in ours.items() if before.get(name) not in chosen}
        | chosen
        | celery_options.settled(chosen)
    )
    read = relevant(own, kind, shows_all=_shows_all(facts.version, chosen))
    merged = {**read, **_essential(facts)}
    secrets, templates = _secrets(facts, kind), _templates(facts.version, kind)
    taken = secrets.keys() | templates.keys()
    variables = {variable(name): value for name, value in merged.items()} | _identity(facts, kind) | _aws(facts)
    unread = {variable(name): value for name, value in own.items() if name not in merged}
    found = Configuration(
        {name: value for name, value in variables.items() if name not in taken},
        templates | {"AIRFLOW__CORE__PLUGINS_FOLDER": f"{{plugins}}/{content.plugins or 'none'}"},
        secrets,
        {name: value for name, value in unread.items() if name not in taken},
    )
    return _with_exports(found, exports)


def _with_exports(found: Configuration, exports: Mapping[str, str]) -> Configuration:
    """With those exports that are no options of Airflow: they may change what we set by default, not what is reserved.

    `PATH` has a placeholder for the folder of programs, which depends on the runtime.
    """
    taken = found.secrets.keys() | found.templates.keys()
    others = {
        name: value
        for name, value in exports.items()
        if not (name in taken or is_reserved(name) or option_of(name) is not None)
    }
    path = {name: others.pop(name) for name in ("PATH",) if name in others}
    return replace(
        found,
        variables={name: value for name, value in found.variables.items() if name not in others},
        templates={**found.templates, **path},
        secrets={**found.secrets, **others},
    )


def script_variables(facts: Facts) -> dict[str, str]:
    """What a startup script sees: who and where it is, and a way to the execution role's credentials."""
    found = _identity(facts, ComponentKind.JOB) | _aws(facts)
    if facts.credentials_token is not None:
        found["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = facts.credentials_token
    return found


def connection_limit(facts: Facts) -> int:
    """CONNECTION LIMIT of the environment's database role: what the pools below can reach, and a reserve.

    The web server has a synchronous and an asynchronous pool (3), or one for each of its processes (2).
    """
    tasks = facts.environment_class.tasks_per_worker * facts.version.connections_per_task
    workers = max(1, facts.max_workers) * (tasks + 4)
    long_running = 20 * facts.web_servers + 15 * facts.schedulers * 3
    return workers + long_running + 15


def _opinionated(facts: Facts) -> dict[str, str]:
    version, size = facts.version, facts.environment_class
    # MWAA: tasks x 1.5. For as many workers as the class allows: MaxWorkers changes without a new scheduler.
    tasks = size.tasks_per_worker * size.max_workers
    return {
        "core.parallelism": str(max(32, -(-tasks * 3 // (2 * max(1, facts.schedulers))))),
        "core.sensitive_var_conn_names": "proxy,proxies",
        "core.lazy_load_plugins": "True",
        "core.dags_are_paused_at_creation": "True",
        "scheduler.task_queued_timeout": "1800",
        "scheduler.schedule_after_task_execution": "False",
        "scheduler.orphaned_tasks_check_interval": "30",  # Airflow: 300. After a reboot all tasks wait for it
        "secrets.backend_kwargs": '{"connections_lookup_pattern": "^(?!aws_default$).*$"}',
        "usage_data_collection.enabled": "False",
        "celery.sync_parallelism": "1",
        "celery.worker_prefetch_multiplier": "1",
        "database.check_migrations": "False",  # only a terminal would be asked; every start pays 0.3 s for it
        "database.sql_alchemy_connect_args": "aerodrome_airflow.database.KEEP_ALIVE",
        "database.sql_alchemy_pool_size": "5",
        "database.sql_alchemy_max_overflow": "5",
        version.names["triggerer_capacity"]: str(size.triggers_per_triggerer),
        version.names["parsing_processes"]: str(size.parsing_processes),
        version.names["session_lifetime_minutes"]: "720",
        **version.opinionated,
    }


def _log_levels(facts: Facts, kind: ComponentKind) -> dict[str, str]:
    found = {"logging.logging_level": facts.log_levels.get(_LOG_MODULE.get(kind, ""), "INFO")}
    if kind is ComponentKind.WORKER:
        found["logging.celery_logging_level"] = facts.log_levels.get("WorkerLogs", "INFO")
    return found


def _shows_all(version: AirflowVersion, chosen: Mapping[str, str]) -> bool:
    """Whether the web server has a page that lists every option."""
    name = version.names["expose_config"]
    shown = chosen.get(name, chosen.get("webserver.expose_config", "False"))
    return shown.strip().lower() not in ("false", "f", "0")


def _essential(facts: Facts) -> dict[str, str]:
    version = facts.version
    return {
        **version.essential,
        "core.executor": "CeleryExecutor",
        "core.load_examples": "False",
        "core.hostname_callable": "socket.gethostname",  # never a name look-up
        "core.unit_test_mode": "False",
        "database.load_default_connections": "False",
        "celery.worker_enable_remote_control": "True",  # how workers are asked how they are, and drained
        "celery_broker_transport_options.visibility_timeout": str(VISIBILITY_TIMEOUT),
        "celery_broker_transport_options.global_keyprefix": facts.broker_prefix,
        "operators.default_queue": "default",
        "metrics.statsd_on": "False",
        "scheduler.enable_health_check": "False",
        version.names["base_url"]: f"https://{facts.host}",
        version.names["web_host"]: facts.bind_address,
    }


def _secrets(facts: Facts, kind: ComponentKind) -> dict[str, str]:
    """Each component gets the secrets it needs: what signs users in doesn't reach the workers, where DAGs run."""
    database = f"{facts.version.driver}://{facts.database_url.partition('://')[2]}"
    found = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
        "AIRFLOW__CELERY__BROKER_URL": facts.broker_url,
        "AIRFLOW__CORE__FERNET_KEY": facts.fernet_key,
    }
    if kind is not ComponentKind.WORKER:
        found[variable(facts.version.names["secret_key"])] = facts.secret_key
        if "jwt_secret" in facts.version.names:
            found[variable(facts.version.names["jwt_secret"])] = facts.jwt_secret
    if kind is not ComponentKind.JOB:
        key = hmac.digest(facts.fernet_key.encode(), b"aerodrome options", "sha256")
        found[OPTIONS_KEY] = urlsafe_b64encode(key).decode()
    if kind is ComponentKind.WEB_SERVER:
        found["AERODROME_IDENTITY_SECRET"] = facts.identity_secret
    if facts.credentials_token is not None:
        found["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = facts.credentials_token
    return found


def _templates(version: AirflowVersion, kind: ComponentKind) -> dict[str, str]:
    found = {
        "HOME": "{home}",
        "AIRFLOW_HOME": "{home}",
        "AIRFLOW__CORE__DAGS_FOLDER": "{dags}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": "{logs}",
        **{variable(option): place for option, place in version.places.items()},
    }
    if kind is not ComponentKind.JOB:
        found["AERODROME_OPTIONS"] = "{options}"
    template = version.components.get(kind)
    if template is not None and template.shared_port is not None:
        found["AERODROME_SHARED_PORT"] = f"{{port[{template.shared_port}]}}"
    if version.execution_api and kind is not ComponentKind.JOB:
        found["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] = f"http://{{shared[webserver-1]}}{version.execution_api}"
    return found


def _identity(facts: Facts, kind: ComponentKind) -> dict[str, str]:
    """What user code may read (mwaa-spec 5.3)."""
    number = facts.version.version.replace(".", "")
    return {
        "AIRFLOW_ENV_NAME": facts.key.name,
        "AIRFLOW_ENV_ID": facts.environment_id,
        "AIRFLOW_VERSION": facts.version.version,
        "MWAA_AIRFLOW_COMPONENT": _MWAA_COMPONENT.get(kind, _OTHERS),
        "CUSTOMER_ACCOUNT_ID": facts.key.account,
        "AWS_EXECUTION_ENV": f"Amazon_MWAA_{number}",
        "PYTHONUNBUFFERED": "1",
        "LANG": "C.UTF-8",
        "FORWARDED_ALLOW_IPS": facts.forwarded_by,
    }


def _aws(facts: Facts) -> dict[str, str]:
    found = {
        "AWS_REGION": facts.key.region,
        "AWS_DEFAULT_REGION": facts.key.region,
        "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
    }
    if facts.aws_endpoint_url is not None:
        found["AWS_ENDPOINT_URL"] = facts.aws_endpoint_url
        # SDKs put "api." and "env." before the host, and `api.127.0.0.1` leads nowhere (mwaa-spec 1.1).
        found["AWS_DISABLE_HOST_PREFIX_INJECTION"] = "true"
    for service, url in facts.aws_endpoint_urls.items():
        found[f"AWS_ENDPOINT_URL_{service.upper()}"] = url
    if facts.credentials_url is not None:
        found["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = facts.credentials_url
        found["AWS_EC2_METADATA_DISABLED"] = "true"  # the machine's own role, on EC2, is nobody's here
    if facts.ca_bundle is not None:
        for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
            found[name] = facts.ca_bundle
    return found

"""Airflow 3."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from aerodrome.domain.airflow_version import (
    HEALTH_KINDS,
    LONGEST_TASK,
    PYTHON,
    AirflowVersion,
    ComponentTemplate,
    airflow_command,
)
from aerodrome.domain.component import ComponentKind


def _components(health_path: str) -> Mapping[ComponentKind, ComponentTemplate]:
    """The components of Airflow 3.

    Only the web server listens: Airflow's log servers would do so on every address, and the task logs lie in one
    directory that the web server reads itself. It does so on two ports: one of its own, and one at which tasks find
    whichever web server there is, so that a new one doesn't mean new workers. The worker's grace is MWAA's longest
    task, 12 h.
    """
    kind = ComponentKind
    web = airflow_command("api-server", "--port", "{port[web]}", "--proxy-headers")
    worker = (
        *PYTHON,
        "aerodrome_airflow.worker",
        "--name",
        "{name}",
        "--skip-serve-logs",
        "--without-mingle",
        "--without-gossip",
    )
    templates = (
        ComponentTemplate(kind.WEB_SERVER, web, ("web",), health_path, grace=30, shared_port="tasks"),
        ComponentTemplate(kind.SCHEDULER, airflow_command("scheduler", "--skip-serve-logs")),
        ComponentTemplate(kind.DAG_PROCESSOR, airflow_command("dag-processor")),
        ComponentTemplate(kind.TRIGGERER, airflow_command("triggerer", "--skip-serve-logs")),
        ComponentTemplate(kind.WORKER, worker, grace=LONGEST_TASK),
    )
    return MappingProxyType({template.kind: template for template in templates})


_NAMES = MappingProxyType(
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
        "jwt_secret": "api_auth.jwt_secret",
    }
)

_OLD_NAMES = MappingProxyType(
    {
        "dag_processor.refresh_interval": "scheduler.dag_dir_list_interval",
        "triggerer.capacity": "triggerer.default_capacity",
    }
)

_PLACES = MappingProxyType({"logging.dag_processor_child_process_log_directory": "{logs}/dag_processor"})

_ESSENTIAL = MappingProxyType(
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

_OPINIONATED = MappingProxyType(
    {
        "workers.secrets_backend_kwargs": '{"connections_lookup_pattern": "^(?!aws_default$).*$"}',
        # Finished tasks hold their slot for this many seconds (measured: 5, the default, halves the throughput).
        "workers.min_heartbeat_interval": "1",
        # A task outlives a web server's absence of a minute and more (Airflow's: 5 tries, up to 90 s apart).
        "workers.execution_api_retries": "20",
        "workers.execution_api_retry_wait_max": "5",
        # An exchange of the folder is looked at when it happens; this is for what the kernel can't tell.
        "dag_processor.refresh_interval": "30",
        "dag_processor.bundle_refresh_check_interval": "5",
        "dag_processor.min_file_process_interval": "30",
        "dag_processor.disable_bundle_versioning": "True",
    }
)

V3_3_1 = AirflowVersion(
    version="3.3.1",
    pythons=("3.12", "3.11"),
    mwaa_python="3.12",
    constraints_date="2026-08-12T08:36:00Z",
    released="2026-08-12",
    extras=("celery", "postgres", "amazon", "aiobotocore", "statsd", "cncf-kubernetes", "fab"),
    distributions=("apache-airflow", "apache-airflow-core", "apache-airflow-task-sdk"),
    mwaa_providers=MappingProxyType(
        {
            "amazon": "9.34.0",
            "celery": "3.23.1",
            "common-compat": "1.18.0",
            "common-io": "1.8.0",
            "common-sql": "2.1.0",
            "fab": "3.8.0",
            "http": "6.0.5",
            "postgres": "7.0.1",
            "smtp": "3.0.3",
            "standard": "1.17.0",
        }
    ),
    components=_components("/api/v2/monitor/health"),
    health_path="/api/v2/monitor/health",
    health_kinds=HEALTH_KINDS,
    api_prefix="/api/v2",
    login_path="/auth/login/",
    cookie="_token",
    bearer=True,
    sso_prefix="/pluginsv2/aws_mwaa",
    migrate=(*PYTHON, "aerodrome_airflow.migrate"),
    driver="postgresql+psycopg",
    connections_per_task=1,  # the Celery child's, for the result backend: tasks talk to the execution API
    names=_NAMES,
    old_names=_OLD_NAMES,
    places=_PLACES,
    execution_api="/execution/",
    essential=_ESSENTIAL,
    opinionated=_OPINIONATED,
)

"""Airflow 2: its last line, which MWAA still offers beside 3."""

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
    """As MWAA runs them: the DAG processor is a process of its own (mwaa-spec 6).

    `airflow webserver` would start gunicorn as a second process, watch it, and leave a pid file that a later one
    takes for a server that is running; our launcher becomes gunicorn itself.
    """
    kind = ComponentKind
    worker = (*PYTHON, "aerodrome_airflow.worker", "--name", "{name}", "--skip-serve-logs")
    templates = (
        ComponentTemplate(
            kind.WEB_SERVER,
            (*PYTHON, "aerodrome_airflow.webserver", "--port", "{port[web]}"),
            ("web",),
            health_path,
            grace=30,
        ),
        ComponentTemplate(kind.SCHEDULER, airflow_command("scheduler", "--skip-serve-logs")),
        ComponentTemplate(kind.DAG_PROCESSOR, airflow_command("dag-processor")),
        ComponentTemplate(kind.TRIGGERER, airflow_command("triggerer", "--skip-serve-logs")),
        ComponentTemplate(kind.WORKER, (*worker, "--without-mingle", "--without-gossip"), grace=LONGEST_TASK),
    )
    return MappingProxyType({template.kind: template for template in templates})


_NAMES = MappingProxyType(
    {
        "secret_key": "webserver.secret_key",
        "base_url": "webserver.base_url",
        "web_host": "webserver.web_server_host",
        "web_server_config": "webserver.config_file",
        "session_lifetime_minutes": "webserver.session_lifetime_minutes",
        "new_dag_interval": "scheduler.dag_dir_list_interval",
        "parsing_processes": "scheduler.parsing_processes",
        "triggerer_capacity": "triggerer.default_capacity",
        "expose_config": "webserver.expose_config",
    }
)

_OLD_NAMES = MappingProxyType(
    {
        "core.sensitive_var_conn_names": "admin.sensitive_variable_fields",
        "database.sql_alchemy_connect_args": "core.sql_alchemy_connect_args",
        "database.sql_alchemy_max_overflow": "core.sql_alchemy_max_overflow",
        "database.sql_alchemy_pool_size": "core.sql_alchemy_pool_size",
        "logging.logging_level": "core.logging_level",
        "scheduler.parsing_cleanup_interval": "scheduler.deactivate_stale_dags_interval",
        "scheduler.parsing_processes": "scheduler.max_threads",
    }
)

_PLACES = MappingProxyType(
    {
        "scheduler.child_process_log_directory": "{logs}/scheduler",
        "logging.dag_processor_manager_log_location": "{logs}/dag_processor_manager/dag_processor_manager.log",
    }
)

_ESSENTIAL = MappingProxyType(
    {
        "core.auth_manager": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
        "api.auth_backends": "airflow.api.auth.backend.session",
        "logging.colored_console_log": "False",
        "logging.logging_config_class": "aerodrome_airflow.logging_config.LOGGING_CONFIG",
        "scheduler.standalone_dag_processor": "True",
        "webserver.cookie_secure": "True",
        "webserver.enable_proxy_fix": "False",  # gunicorn itself believes X-Forwarded-Proto, of the gateway alone
        "webserver.session_backend": "database",
        "webserver.web_server_ssl_cert": "",
        "webserver.web_server_ssl_key": "",
    }
)

_OPINIONATED = MappingProxyType(
    {
        # An exchange of the folder is looked at when it happens; this is for what the kernel can't tell.
        "scheduler.dag_dir_list_interval": "30",
        "scheduler.min_file_process_interval": "30",
        "scheduler.parsing_cleanup_interval": "30",
    }
)

V2_11_2 = AirflowVersion(
    version="2.11.2",
    pythons=("3.12", "3.11"),
    mwaa_python="3.12",
    constraints_date="2026-03-08T06:42:00Z",
    released="2026-03-14",
    extras=("celery", "postgres", "amazon", "aiobotocore", "statsd", "cncf-kubernetes", "fab"),
    distributions=("apache-airflow",),
    sources=("python-nvd3",),
    mwaa_providers=MappingProxyType(
        {
            "amazon": "9.22.0",
            "celery": "3.15.2",
            "common-compat": "1.14.0",
            "common-io": "1.7.1",
            "common-sql": "1.32.0",
            "fab": "1.5.4",
            "ftp": "3.14.1",
            "http": "6.0.0",
            "imap": "3.11.0",
            "postgres": "6.6.0",
            "smtp": "2.4.2",
            "sqlite": "4.3.0",
        }
    ),
    components=_components("/health"),
    health_path="/health",
    health_kinds=HEALTH_KINDS,
    api_prefix="/api/v1",
    login_path="/login/",
    cookie="session",
    bearer=False,
    sso_prefix="/aws_mwaa",
    migrate=(*PYTHON, "aerodrome_airflow.migrate"),
    driver="postgresql+psycopg2",
    connections_per_task=4,  # the Celery child, the task's supervisor and the task itself, without a pool
    names=_NAMES,
    old_names=_OLD_NAMES,
    places=_PLACES,
    essential=_ESSENTIAL,
    opinionated=_OPINIONATED,
)

"""Which options and variables of an environment are ours, and how an option becomes a variable (mwaa-spec 5.3, 6)."""

from __future__ import annotations

from collections.abc import Iterable

# Options that name or open what is ours, by section: newer and older names, for every version.
_BLOCKED_BY_SECTION = {
    "api": (
        "auth_backend",
        "auth_backends",
        "base_url",
        "host",
        "port",
        "secret_key",
        "server_type",
        "ssl_cert",
        "ssl_key",
        "workers",
    ),
    "api_auth": (
        "jwt_algorithm",
        "jwt_audience",
        "jwt_expiration_time",
        "jwt_issuer",
        "jwt_kid",
        "jwt_private_key_path",
        "jwt_secret",
        "trusted_jwks_url",
    ),
    "celery": (
        "broker_url",
        "celery_app_name",
        "celery_config_options",
        "default_queue",
        "result_backend",
        "worker_enable_remote_control",
        "worker_log_server_port",
    ),
    "celery_broker_transport_options": (
        "global_keyprefix",
        "visibility_timeout",
    ),
    "core": (
        "auth_manager",
        "base_log_folder",
        "colored_console_log",
        "dag_processor_manager_log_location",
        "dags_folder",
        "database_access_isolation",
        "execution_api_server_url",
        "executor",
        "fernet_key",
        "hostname_callable",
        "load_default_connections",
        "load_examples",
        "log_filename_template",
        "logging_config_class",
        "multi_team",
        "plugins_folder",
        "security",
        "simple_auth_manager_all_admins",
        "simple_auth_manager_passwords_file",
        "simple_auth_manager_users",
        "sql_alchemy_conn",
        "task_log_reader",
        "unit_test_mode",
    ),
    "dag_processor": (
        "dag_bundle_config_list",
        "dag_bundle_storage_path",
    ),
    "database": (
        "external_db_managers",
        "load_default_connections",
        "sql_alchemy_conn",
        "sql_alchemy_conn_async",
    ),
    "execution_api": (
        "jwt_audience",
        "jwt_expiration_time",
    ),
    "fab": (
        "auth_backends",
        "auth_role_public",
        "config_file",
        "cookie_secure",
        "enable_proxy_fix",
        "session_backend",
    ),
    "logging": (
        "base_log_folder",
        "colored_console_log",
        "dag_processor_child_process_log_directory",
        "dag_processor_manager_log_location",
        "file_task_handler_new_file_permissions",
        "file_task_handler_new_folder_permissions",
        "log_filename_template",
        "logging_config_class",
        "task_log_reader",
        "trigger_log_server_port",
        "worker_log_server_port",
    ),
    "metrics": (
        "statsd_host",
        "statsd_on",
        "statsd_port",
        "statsd_prefix",
    ),
    "operators": ("default_queue",),
    "scheduler": (
        "child_process_log_directory",
        "enable_health_check",
        "standalone_dag_processor",
        "statsd_host",
        "statsd_on",
        "statsd_port",
        "statsd_prefix",
    ),
    "triggerer": ("queues_enabled",),
    "webserver": (
        "base_url",
        "config_file",
        "cookie_secure",
        "enable_proxy_fix",
        "run_internal_api",
        "secret_key",
        "session_backend",
        "web_server_host",
        "web_server_port",
        "web_server_ssl_cert",
        "web_server_ssl_key",
    ),
    "workers": ("execution_api_server_url",),
}
_BLOCKED = frozenset(f"{section}.{name}" for section, names in _BLOCKED_BY_SECTION.items() for name in names)

# What a startup script's exports can't change (mwaa-spec 5.3), besides the options above.
RESERVED_VARIABLES = frozenset(
    {
        "AIRFLOW_CONFIG",
        "AIRFLOW_ENV_ID",
        "AIRFLOW_ENV_NAME",
        "AIRFLOW_HOME",
        "AIRFLOW_SCHEDULER_ALLOWED_RUN_ID_PATTERN",
        "AIRFLOW_TASK_REVISION_ID",
        "AIRFLOW_VERSION",
        "AIRFLOW__AWS_MWAA__REDIRECT_URL",
        "AIRFLOW__CELERY__WORKER_AUTOSCALE",
        "AIRFLOW__CORE__DAG_CONCURRENCY",
        "AIRFLOW__CORE__DATABASE_ACCESS_ISOLATION",
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG",
        "AIRFLOW__CORE__PARALLELISM",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES",
        "AIRFLOW__SCHEDULER__PARSING_PROCESSES",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_REGION",
        "CUSTOMER_ACCOUNT_ID",
        "ECS_AGENT_URI",
        "ECS_CONTAINER_METADATA_URI",
        "ECS_CONTAINER_METADATA_URI_V4",
        "FORWARDED_ALLOW_IPS",
        "JWT_PUBLIC_KEY",
        "MWAA_AIRFLOW_COMPONENT",
        "PYTHONPATH",
        "PYTHONUNBUFFERED",
        "USE_NON_CRITICAL_LOGGING",
        "WATCHTOWER_VERSION",
    }
)
_RESERVED_PREFIXES = ("MWAA__", "AERODROME_")


def plain(option: str) -> str:
    """The one spelling of what is one variable to Airflow: `core.load.examples` is `core.load_examples`."""
    section, _, name = option.lower().partition(".")
    return f"{section}.{name.replace('.', '_')}"


def variable(option: str) -> str:
    """`section.option` as Airflow's environment variable; only the first dot separates (mwaa-spec 6)."""
    section, _, name = option.partition(".")
    return f"AIRFLOW__{section}__{name.replace('.', '_')}".upper()


def option_of(name: str) -> str | None:
    """The option that Airflow reads the environment variable for; None when it is none of Airflow's configuration."""
    _, _, rest = name.partition("AIRFLOW__")
    section, _, option = rest.partition("__")
    found = f"{section}.{option}".lower()
    return found if section and option and variable(found) == name else None


def option_faults(options: Iterable[str]) -> list[str]:
    """What is wrong with the names of AirflowConfigurationOptions; values are secrets and none of it."""
    names = sorted(options)
    faults = [
        f"AirflowConfigurationOptions: {name} is set by the service and can't be changed; leave it out."
        for name in blocked_options(names)
    ]
    faults += [
        f"AirflowConfigurationOptions: {name} is no option; the form is section.option, such as core.parallelism."
        for name in names
        if not all(name.partition(".")[::2])
    ]
    spelled: dict[str, str] = {}
    for name in names:
        first = spelled.setdefault(variable(name), name)
        if first != name:
            faults.append(f"AirflowConfigurationOptions: {first} and {name} are the same option; keep one.")
    return faults


def blocked_options(options: Iterable[str]) -> list[str]:
    """Those of the option names that a user may not set, sorted."""
    return sorted(name for name in options if is_blocked(name.lower()))


def is_reserved(name: str) -> bool:
    """True for an environment variable that a startup script can't change."""
    if name in RESERVED_VARIABLES or name.startswith(_RESERVED_PREFIXES):
        return True
    return any(name in (known, f"{known}_CMD", f"{known}_SECRET") for known in map(variable, _BLOCKED))


def is_blocked(name: str) -> bool:
    """Whether an option is ours: however its dots are set, and as a command or a secret (NAME_cmd, NAME_secret) too."""
    name = plain(name)
    return name in _BLOCKED or name.removesuffix("_cmd") in _BLOCKED or name.removesuffix("_secret") in _BLOCKED

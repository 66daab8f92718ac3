"""Which components read a configuration option: only they are replaced when it changes, the others are told.

Taken from the sources of the Airflow versions in the catalogue: an option stands here when nothing else of Airflow
reads it in any of them. What isn't here, a user's own options included, is read by every component.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from aerodrome.domain.component import ComponentKind

_EVERY_KIND = frozenset(ComponentKind)
_SCHEDULER = frozenset({ComponentKind.SCHEDULER})
_DAG_PROCESSOR = frozenset({ComponentKind.DAG_PROCESSOR})
_TRIGGERER = frozenset({ComponentKind.TRIGGERER})
_WORKER = frozenset({ComponentKind.WORKER})
_WEB_SERVER = frozenset({ComponentKind.WEB_SERVER})

# A whole section, but for the options below.
_SECTIONS: Mapping[str, frozenset[ComponentKind]] = MappingProxyType(
    {
        "api": _WEB_SERVER,
        "celery": _SCHEDULER | _WORKER,
        "celery_broker_transport_options": _SCHEDULER | _WORKER,
        "celery_result_backend_transport_options": _SCHEDULER | _WORKER,
        "fab": _WEB_SERVER,
        "triggerer": _TRIGGERER,
        "webserver": _WEB_SERVER,
    }
)

_BY_READERS: tuple[tuple[frozenset[ComponentKind], str, tuple[str, ...]], ...] = (
    (
        _EVERY_KIND,
        "api",
        ("client_ssl_cert", "client_ssl_key", "client_use_public_certs", "ssl_ca_file"),
    ),
    (_EVERY_KIND, "webserver", ("dag_default_view", "dag_orientation", "log_request_clock_grace")),
    (_EVERY_KIND, "triggerer", ("default_queue", "triggerer_health_check_threshold")),
    (_SCHEDULER, "core", ("parallelism",)),
    (
        _SCHEDULER,
        "celery",
        ("stalled_task_timeout", "sync_parallelism", "task_adoption_timeout", "task_publish_max_retries"),
    ),
    (
        _WORKER,
        "celery",
        ("pool", "worker_autoscale", "worker_concurrency", "worker_prefetch_multiplier", "worker_umask"),
    ),
    (
        _SCHEDULER,
        "scheduler",
        (
            "dag_stale_not_seen_duration",
            "dagrun_metrics_interval",
            "max_dagruns_per_loop_to_schedule",
            "max_dagruns_to_create_per_loop",
            "max_tis_per_query",
            "num_stuck_in_queued_retries",
            "orphaned_tasks_check_interval",
            "pool_metrics_interval",
            "scheduler_heartbeat_sec",
            "scheduler_idle_sleep_time",
            "task_instance_heartbeat_timeout_detection_interval",
            "task_queued_timeout",
            "task_queued_timeout_check_interval",
            "ti_metrics_interval",
            "trigger_timeout_check_interval",
            "zombie_detection_interval",
        ),
    ),
    (_WORKER, "scheduler", ("local_task_job_heartbeat_sec", "schedule_after_task_execution")),
    (
        _DAG_PROCESSOR,
        "scheduler",
        (
            "file_parsing_sort_mode",
            "max_callbacks_per_loop",
            "min_file_process_interval",
            "parsing_pre_import_modules",
            "parsing_processes",
            "print_stats_interval",
            "stale_dag_threshold",
        ),
    ),
    (_DAG_PROCESSOR | _WEB_SERVER, "scheduler", ("dag_dir_list_interval",)),
    (_DAG_PROCESSOR | _SCHEDULER, "scheduler", ("parsing_cleanup_interval",)),
    (
        _DAG_PROCESSOR,
        "dag_processor",
        (
            "bundle_refresh_check_interval",
            "dag_file_processor_timeout",
            "file_parsing_sort_mode",
            "max_callbacks_per_loop",
            "min_file_process_interval",
            "parsing_pre_import_modules",
            "parsing_processes",
            "print_stats_interval",
            "stale_dag_threshold",
        ),
    ),
    (_WORKER, "workers", ("max_failed_heartbeats", "min_heartbeat_interval", "missing_dag_retries")),
    (_WORKER, "logging", ("celery_logging_level", "celery_stdout_stderr_separation")),
    (_WEB_SERVER, "logging", ("fab_logging_level",)),
)
_OPTIONS: Mapping[str, frozenset[ComponentKind]] = MappingProxyType(
    {f"{section}.{name}": kinds for kinds, section, names in _BY_READERS for name in names}
)


def readers(option: str) -> frozenset[ComponentKind]:
    """The kinds of component that read `section.option` (lower case), jobs among them: the command line shows all."""
    plain = option.removesuffix("_cmd").removesuffix("_secret")
    section = plain.partition(".")[0]
    kinds = _OPTIONS.get(plain)
    if kinds is None:
        kinds = _SECTIONS.get(section, _EVERY_KIND)
    return kinds | {ComponentKind.JOB}


def relevant(options: Mapping[str, str], kind: ComponentKind, *, shows_all: bool) -> dict[str, str]:
    """Those that a component of that kind gets. `shows_all`: the web server has a page that lists every option."""
    if shows_all and kind is ComponentKind.WEB_SERVER:
        return dict(options)
    return {option: value for option, value in options.items() if kind in readers(option)}

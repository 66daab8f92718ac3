"""What every task would do again is done once, in the worker's main process, before it forks.

The children share the pages, so this saves time and memory. Nothing here may open a connection or start a thread: a
child would inherit half of it.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

_USED_BY_TASKS = (
    # Airflow 3
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.request_handlers",
    "airflow.sdk.definitions.connection",
    # Airflow 2
    "airflow.jobs.local_task_job_runner",
    "airflow.task.task_runner.standard_task_runner",
)


def install() -> None:
    """Every worker that this process starts prepares its tasks first; Airflow is imported by then."""
    from celery import Celery
    from celery.signals import import_modules

    worker_main = Celery.worker_main

    def prepared(app: Any, argv: Sequence[str] | None = None) -> Any:
        prepare()
        import_modules.connect(_share, weak=False)
        return worker_main(app, argv)

    Celery.worker_main = prepared


def prepare() -> None:
    """Import what tasks import, and work out what they would."""
    for name in _USED_BY_TASKS:
        with suppress(ImportError):  # of the other major version
            importlib.import_module(name)
    map_models()
    _parse_c()


def _share(**_: Any) -> None:
    """Once all is imported: garbage collection in a child would write to every page, and so get a copy of each."""
    gc.freeze()


def map_models() -> None:
    """Every task of Airflow 2 would work out all relations between tables again: a fourth of its processor time."""
    from airflow.models import import_all_models
    from sqlalchemy.orm import configure_mappers

    import_all_models()
    configure_mappers()


def _parse_c() -> None:
    """Celery's children each declare one C function, for which cffi imports a whole parser of C."""
    with suppress(ImportError):
        from cffi import FFI

        FFI().cdef("int aerodrome(int);")

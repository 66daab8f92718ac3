"""Airflow's own logging, with task logs read from the directory that all components share.

Airflow would ask the worker's log server for the log of a running task. It listens on every address, so we run none;
the file that it would serve is the one that the web server sees itself.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from airflow.config_templates import airflow_local_settings as stock
from airflow.utils.log.file_task_handler import FileTaskHandler


class SharedFolderTaskHandler(FileTaskHandler):  # type: ignore[misc]
    """Reads and writes task logs in the shared directory, and looks nowhere else."""

    trigger_should_wrap = True  # Airflow 2 asks this class alone, not its parent: triggers log into the task's log

    def _read_from_logs_server(self, ti: Any, worker_log_rel_path: str) -> tuple[list[str], list[Any]]:
        return [], []


LOGGING_CONFIG: dict[str, Any] = deepcopy(stock.DEFAULT_LOGGING_CONFIG)
LOGGING_CONFIG["handlers"]["task"]["class"] = f"{__name__}.SharedFolderTaskHandler"

# Airflow 3 looks for these beside the configuration: a user's remote logging goes on working.
REMOTE_TASK_LOG = getattr(stock, "REMOTE_TASK_LOG", None)
DEFAULT_REMOTE_CONN_ID = getattr(stock, "DEFAULT_REMOTE_CONN_ID", None)

"""The smallest useful DAG: two tasks, the second one uses what the first returned. Runs on Airflow 2.11 and 3."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

try:
    from airflow.sdk import dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task

log = logging.getLogger(__name__)


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=False,
    tags=["demo"],
)
def hello() -> None:
    @task
    def name() -> str:
        return "Airflow"

    @task
    def greet(who: str) -> None:
        log.info("Hello, %s!", who)

    greet(name())


hello()

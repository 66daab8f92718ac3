"""What became of a task that a dead worker held, by the metadata database; and telling the scheduler."""

from __future__ import annotations

from enum import Enum
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import states
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from aerodrome_airflow.incarnation import is_ours_and_alive
from aerodrome_airflow.orphans import tasks_need_their_worker

_TASK = text(
    "SELECT state, pid FROM task_instance"
    " WHERE external_executor_id = :task AND state IN ('queued', 'running', 'restarting')"
)
# Airflow 2 heeds no result of a task that it has seen running, only the end of the job that ran it.
_END_JOB = text(
    "UPDATE job SET state = 'failed', end_date = now() WHERE state = 'running' AND job_type = 'LocalTaskJob'"
    " AND id IN (SELECT job_id FROM task_instance WHERE external_executor_id = :task AND state = 'running')"
)


class Fate(Enum):
    """Its value completes a sentence about the task."""

    WAITS = "had not begun"
    RUNS = "works on"
    LOST = "was killed"
    ENDED = "had ended"


def fate_of(app: Any, task: str, *, gone: bool = False) -> Fate:
    """`task` is Celery's id of it; `app` is Celery's application, whose results lie in the metadata database.

    `gone`: it is known that no process of its worker lives.

    Raises:
        ConnectionError: the database is away.
    """
    try:
        with app.backend.ResultSession() as session:
            row = session.execute(_TASK, {"task": task}).first()
        if row is None:
            return Fate.WAITS if app.backend.get_state(task) == states.PENDING else Fate.ENDED
    except SQLAlchemyError as error:
        raise ConnectionError(f"The metadata database can't be asked: {error}") from error
    if row.state == "queued":
        return Fate.WAITS
    if not gone and (row.pid is None or is_ours_and_alive(row.pid)):  # without a pid: Airflow 2, about to begin
        return Fate.RUNS
    return Fate.LOST if row.state == "running" else Fate.ENDED


def record_end(app: Any, task: str, fate: Fate) -> None:
    """Tell the scheduler: by Celery's result, and in Airflow 2 of a task that ran, by the state of its job.

    Raises:
        ConnectionError: the database is away.
    """
    try:
        if fate is Fate.LOST and not tasks_need_their_worker():
            with app.backend.ResultSession() as session:
                session.execute(_END_JOB, {"task": task})
                session.commit()
        if app.backend.get_state(task) in states.READY_STATES:
            return
        if fate is Fate.LOST:
            app.backend.mark_as_failure(task, WorkerLostError("The worker that ran this task was killed."))
        else:
            app.backend.mark_as_done(task, None)
    except SQLAlchemyError as error:
        raise ConnectionError(f"The result of task {task} can't be written: {error}") from error

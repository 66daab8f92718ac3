"""One run of the demo's DAG through InvokeRestApi, with the states of its tasks shown as they change."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from aerodrome.cli.connection import error_code
from aerodrome.errors import Permanent

_PAUSE = 0.5  # seconds between two looks
_STATE_STYLE = {"success": "green", "running": "cyan", "failed": "red", "upstream_failed": "red", "queued": "yellow"}
_RETRYABLE = frozenset({"ThrottlingException", "RestApiServerException", "ServiceUnavailableException"})


@dataclass(frozen=True, slots=True)
class Airflow:
    """Airflow's REST API as InvokeRestApi gives it out."""

    mwaa: Any
    environment: str
    major: int  # of Airflow's version

    def get(self, path: str, **query: object) -> Mapping[str, Any] | None:
        """The answer, or None when Airflow says 404 or can't answer just now."""
        try:
            return self._invoke("GET", path, {"QueryParameters": query} if query else {})
        except ClientError as error:
            response: dict[str, Any] = {**error.response}
            if response.get("RestApiStatusCode") == 404 or error_code(error) in _RETRYABLE:
                return None
            raise

    def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._invoke("POST", path, {"Body": body})

    def _invoke(self, method: str, path: str, more: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self.mwaa.invoke_rest_api(Name=self.environment, Method=method, Path=path, **more)
        response: Mapping[str, Any] = answer["RestApiResponse"]
        return response


@dataclass(slots=True)
class RunView:
    """States of a run's tasks: (task, state) -> how many instances."""

    run_id: str
    state: str = "queued"
    tasks: dict[str, Counter[str]] = field(default_factory=dict)

    def apply(self, instances: Sequence[Mapping[str, Any]]) -> None:
        self.tasks = {}
        for instance in instances:
            states = self.tasks.setdefault(str(instance["task_id"]), Counter())
            states[str(instance["state"] or "waiting")] += 1

    def finished(self, task: str) -> int:
        return self.tasks.get(task, Counter())["success"]

    def render(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for task, states in self.tasks.items():
            shown = [(f"{count} {state}  ", _STATE_STYLE.get(state, "dim")) for state, count in sorted(states.items())]
            table.add_row(f"  {task}", Text.assemble(*shown))
        return Group(Text.assemble(f"Run {self.run_id}  ", (self.state, _STATE_STYLE.get(self.state, "dim"))), table)

    def line(self) -> str:
        tasks = [
            f"{task}: {', '.join(f'{count} {state}' for state, count in sorted(states.items()))}"
            for task, states in self.tasks.items()
        ]
        return f"run {self.state}; {'; '.join(tasks)}"


def wait_for_dag(airflow: Airflow, dag_id: str, timeout: float) -> None:
    """Wait until Airflow has parsed the DAG.

    Raises:
        Permanent: it has not within `timeout` seconds, or can't; with Airflow's import errors.
    """
    deadline = time.monotonic() + timeout
    while airflow.get(f"/dags/{dag_id}") is None:
        if time.monotonic() > deadline:
            errors = (airflow.get("/importErrors") or {}).get("import_errors", [])
            traces = "\n".join(str(error.get("stack_trace", ""))[-2000:] for error in errors)
            raise Permanent(f"Airflow has not found DAG {dag_id} within {timeout:g} s. {traces}".rstrip())
        time.sleep(_PAUSE)


def trigger(airflow: Airflow, dag_id: str) -> str:
    """Start a run; its id. Short, since a path of InvokeRestApi has 64 characters at most (mwaa-spec 1.7)."""
    run_id = datetime.now(UTC).strftime("demo-%Y%m%dT%H%M%S")
    body: dict[str, Any] = {"dag_run_id": run_id}
    if airflow.major >= 3:
        body["logical_date"] = None
    airflow.post(f"/dags/{dag_id}/dagRuns", body)
    return run_id


def watch_run(airflow: Airflow, dag_id: str, run_id: str, console: Console, timeout: float) -> RunView:
    """Show the run until it has succeeded.

    Raises:
        Permanent: it failed, or did not end within `timeout` seconds; names the tasks.
    """
    view = RunView(run_id)
    live = Live(console=console, refresh_per_second=8, get_renderable=view.render) if console.is_terminal else None
    deadline, told = time.monotonic() + timeout, ""
    if live:
        live.start()
    try:
        while time.monotonic() < deadline:
            run = airflow.get(f"/dags/{dag_id}/dagRuns/{run_id}")
            instances = airflow.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=100)
            if run and instances:
                view.state = str(run["state"])
                view.apply(instances["task_instances"])
            if not live and view.line() != told:
                told = view.line()
                console.print(f"  {told}", markup=False, soft_wrap=True)
            if view.state in ("success", "failed"):
                break
            time.sleep(_PAUSE)
    finally:
        if live:
            live.stop()
    if view.state != "success":
        raise Permanent(_complaint(dag_id, view, timeout))
    return view


def _complaint(dag_id: str, view: RunView, timeout: float) -> str:
    ended = "failed" if view.state == "failed" else f"did not end within {timeout:g} s"
    failed = [task for task, states in view.tasks.items() if states["failed"]]
    text = f"Run {view.run_id} of DAG {dag_id} {ended} ({view.line()})."
    return f"{text} Look at the log of task {failed[0]} in the UI." if failed else text

"""Asking a real environment what it knows, and updating it; with the DAGs of `asks_dag`."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import traces
from support.site import Demo, wait_for

DAG = Path(__file__).with_name("asks_dag.py")
_SETTLED = ("AVAILABLE", "UPDATE_FAILED", "UNAVAILABLE")


def upload(demo: Demo) -> None:
    """Put the DAGs into the environment's bucket and wait until Airflow has them. They stay."""
    demo.site.client("s3").put_object(Bucket=demo.bucket, Key="dags/asks.py", Body=DAG.read_bytes())

    def listed() -> bool:
        query = {"dag_id_pattern": "s", "limit": 100}
        return {"asks", "steady"} <= {dag["dag_id"] for dag in demo.rest("/dags", QueryParameters=query)["dags"]}

    wait_for("the DAGs in Airflow", listed)


def update(demo: Demo, **members: Any) -> dict[str, Any]:
    """The environment once the update is over."""
    demo.site.client("mwaa").update_environment(Name=demo.name, **members)
    return settled(demo)


def settled(demo: Demo) -> dict[str, Any]:
    """The environment once nothing is under way."""

    def over() -> dict[str, Any] | None:
        found: dict[str, Any] = demo.site.client("mwaa").get_environment(Name=demo.name)["Environment"]
        return found if found["Status"] in _SETTLED else None

    shown: dict[str, Any] = wait_for("the end of the update", over, 240)
    return shown


def fresh(word: str) -> str:
    """The id of a run that there wasn't yet, on an installation that is kept either."""
    return f"{word}-{secrets.token_hex(3)}"


def ask(demo: Demo, **questions: Any) -> dict[str, Any]:
    """What a task finds: `options`, `variables`, and the `worker` that it runs on."""
    run = fresh("asks")
    demo.trigger("asks", run, questions)
    answer = _effects(demo) / run

    def told() -> str | None:
        assert demo.rest(f"/dags/asks/dagRuns/{run}")["state"] != "failed"
        return answer.read_text() if answer.exists() else None

    found: dict[str, Any] = json.loads(wait_for(f"the answer of {run}", told))
    return found


def parsed(demo: Demo) -> dict[str, Any]:
    """What the process found that read the DAG file last."""
    found: dict[str, Any] = json.loads(demo.rest("/dags/asks")["description"])
    return found


@dataclass(frozen=True, slots=True)
class Attempt:
    """A line that the task of `steady` wrote."""

    word: str  # begin, end
    number: int
    worker: str  # the component that it runs on


def attempts(demo: Demo, run: str) -> list[Attempt]:
    path = _effects(demo) / run
    words = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [Attempt(word, int(number), worker) for word, number, worker in words]


def begin(demo: Demo, run: str) -> Attempt:
    """A run of `steady`, and where its task works."""
    demo.trigger("steady", run)
    begun: Attempt = wait_for(f"the task of {run} at work", lambda: next(iter(attempts(demo, run)), None))
    return begun


def release(demo: Demo, run: str) -> None:
    """Let the task end, and wait for the end of the run."""
    (_effects(demo) / f"{run}.enough").touch()

    def succeeded() -> bool:
        state = demo.rest(f"/dags/steady/dagRuns/{run}")["state"]
        assert state != "failed"
        return bool(state == "success")

    wait_for(f"the end of {run}", succeeded)


def _effects(demo: Demo) -> Path:
    return demo.site.layout.airflow_home(traces.id_of(demo.site, demo.name)) / "effects"

"""DAGs that tell what they are asked: `asks` what Airflow's configuration says, `steady` who works on it and how often.

Both write below AIRFLOW_HOME/effects, where tests read. Run on Airflow 2.11 and 3.
"""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from pathlib import Path

from airflow.configuration import conf

try:
    from airflow.sdk import Variable, dag, get_current_context, task
except ImportError:
    from airflow.decorators import dag, task
    from airflow.models import Variable
    from airflow.operators.python import get_current_context

EFFECTS = Path(os.environ["AIRFLOW_HOME"], "effects")
WORKER = os.environ.get("AERODROME_PROGRAM", "").rpartition(".")[2]  # the component's name
# What the process says that reads this file for the scheduler.
PARSED = {name: conf.get(*name.split(".", 1), fallback=None) for name in ("scheduler.max_tis_per_query", "mine.answer")}


@dag(dag_id="asks", schedule=None, is_paused_upon_creation=False, description=json.dumps(PARSED), tags=["e2e"])
def asks():
    @task
    def ask() -> None:
        context = get_current_context()
        asked = context["dag_run"].conf
        found = {name: conf.get(*name.split(".", 1), fallback=None) for name in asked["options"]}
        variables = {name: Variable.get(name) for name in asked.get("variables", ())}
        EFFECTS.mkdir(exist_ok=True)
        aside = EFFECTS / f".{context['run_id']}"
        aside.write_text(json.dumps({"options": found, "variables": variables, "worker": WORKER}))
        aside.replace(EFFECTS / context["run_id"])

    ask()


@dag(dag_id="steady", schedule=None, is_paused_upon_creation=False, tags=["e2e"])
def steady():
    @task(retries=1, retry_delay=timedelta(seconds=1))
    def work() -> None:
        """Works until a file says that it is enough."""
        context = get_current_context()
        run, attempt = context["run_id"], context["ti"].try_number
        EFFECTS.mkdir(exist_ok=True)
        with (EFFECTS / run).open("a") as lines:
            lines.write(f"begin {attempt} {WORKER}\n")
        while not (EFFECTS / f"{run}.enough").exists():
            time.sleep(0.2)
        with (EFFECTS / run).open("a") as lines:
            lines.write(f"end {attempt} {WORKER}\n")

    work()


asks()
steady()

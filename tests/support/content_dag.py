"""A DAG that tells what its task finds of plugins.zip, requirements.txt and the startup script. Airflow 2.11 and 3."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

try:
    from airflow.sdk import dag, get_current_context, task
except ImportError:
    from airflow.decorators import dag, task
    from airflow.operators.python import get_current_context

try:
    from my_operators import MyOperator  # of a plugins.zip
except ImportError:
    MyOperator = None

EFFECTS = Path(os.environ["AIRFLOW_HOME"], "effects")


@dag(dag_id="content", schedule=None, is_paused_upon_creation=False, tags=["e2e"])
def content():
    @task
    def look() -> None:
        context = get_current_context()
        asked = context["dag_run"].conf
        found: dict[str, object] = {"variables": {name: os.environ.get(name) for name in asked.get("variables", ())}}
        for name in asked.get("modules", ()):
            try:
                module = importlib.import_module(name)
                found[name] = str(getattr(module, "__version__", "there"))
            except ImportError as error:
                found[name] = f"ImportError: {error}"
        EFFECTS.mkdir(exist_ok=True)
        aside = EFFECTS / f".{context['run_id']}"
        aside.write_text(json.dumps(found))
        aside.replace(EFFECTS / context["run_id"])

    look()
    if MyOperator is not None:
        MyOperator(task_id="mine", folder=str(EFFECTS))


content()

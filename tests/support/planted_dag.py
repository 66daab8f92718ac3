"""A DAG that uses every secret that an environment has for its tasks, and says some of them aloud."""

from __future__ import annotations

import json
import os

import boto3
from airflow.configuration import conf

try:
    from airflow.sdk import BaseHook, Variable, dag, get_current_context, task
except ImportError:
    from airflow.decorators import dag, task
    from airflow.hooks.base import BaseHook
    from airflow.models import Variable
    from airflow.operators.python import get_current_context


@dag(dag_id="planted", schedule=None, is_paused_upon_creation=False, tags=["e2e"])
def planted():
    @task
    def use() -> None:
        """What it finds goes to the bucket, which lies sealed."""
        context = get_current_context()
        keys = boto3.Session().get_credentials().get_frozen_credentials()
        found = {
            "variables": {name: Variable.get(name) for name in ("cli_password", "rest_password")},
            "connections": {name: BaseHook.get_connection(name).password for name in ("by_cli", "by_rest")},
            "option": conf.get("mine", "secret"),
            "export": os.environ["PLANTED_TOKEN"],
            "credentials": [keys.secret_key, keys.token],
        }
        for name, value in {**found["variables"], **found["connections"]}.items():
            print(f"{name} is {value}")
        bucket = context["dag_run"].conf["bucket"]
        body = json.dumps(found).encode()
        boto3.client("s3").put_object(Bucket=bucket, Key=f"output/{context['run_id']}.json", Body=body)

    use()


planted()

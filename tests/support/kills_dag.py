"""A DAG whose effects can be counted: every attempt of a task writes a line when it begins and one when it ends.

`conf` of a run: `bucket`, `seconds` (how long each task takes). Each task also writes one S3 object at its end.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

try:
    from airflow.sdk import dag, get_current_context, task
except ImportError:
    from airflow.decorators import dag, task
    from airflow.operators.python import get_current_context

TASKS = 20  # support.kills.TASKS


def note(word: str) -> None:
    context = get_current_context()
    instance = context["ti"]
    folder = Path(os.environ["AIRFLOW_HOME"], "effects")
    folder.mkdir(exist_ok=True)
    start = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    line = f"{word} {instance.map_index} {instance.try_number} {os.getpid()} {start} {time.time():.3f}\n"
    descriptor = os.open(folder / context["run_id"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line.encode())
    os.fsync(descriptor)
    os.close(descriptor)


@dag(dag_id="kills", schedule=None, is_paused_upon_creation=False, tags=["e2e"])
def kills():
    @task(retries=3, retry_delay=timedelta(seconds=1))
    def effect(number: int) -> None:
        import boto3
        from botocore.config import Config

        context = get_current_context()
        conf = context["dag_run"].conf
        note("begin")
        time.sleep(conf["seconds"])
        s3 = boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 10}))
        s3.put_object(Bucket=conf["bucket"], Key=f"output/kills/{context['run_id']}/{number}", Body=b"done")
        note("end")

    effect.expand(number=list(range(TASKS)))


kills()

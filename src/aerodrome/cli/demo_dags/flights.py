"""Flight statistics: a small but whole pipeline, from a file in S3 to a report in S3.

    extract    reads the CSV file with the day's flights and sorts them by airport
    transform  one mapped task per airport: flights, passengers, mean delay, share on time
    load       writes the report as JSON; the bucket keeps every version

The hooks use the connection `aws_default`, which needs no set-up here: the environment's execution role supplies the
credentials. Bucket and keys are in `flights.json` beside this file. Runs on Airflow 2.11 and 3.
"""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

try:
    from airflow.sdk import dag, get_current_context, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task
    from airflow.operators.python import get_current_context

ON_TIME = 15  # minutes of delay that still count as on time


def settings() -> dict[str, str]:
    """Read when a task runs, not when the file is parsed: parsing happens all the time."""
    loaded: dict[str, str] = json.loads(Path(__file__).with_name("flights.json").read_text())
    return loaded


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=False,
    tags=["demo"],
    doc_md=__doc__,
)
def flights() -> None:
    @task
    def extract() -> list[dict[str, Any]]:
        where = settings()
        text = S3Hook().read_key(where["input"], where["bucket"])
        airports: dict[str, list[dict[str, int]]] = {}
        for row in csv.DictReader(io.StringIO(text)):
            flight = {"passengers": int(row["passengers"]), "delay": int(row["delay_minutes"])}
            airports.setdefault(row["airport"], []).append(flight)
        return [{"airport": airport, "flights": airports[airport]} for airport in sorted(airports)]

    @task
    def transform(day: dict[str, Any]) -> dict[str, Any]:
        seen = day["flights"]
        return {
            "airport": day["airport"],
            "flights": len(seen),
            "passengers": sum(flight["passengers"] for flight in seen),
            "mean_delay": round(sum(flight["delay"] for flight in seen) / len(seen), 2),
            "on_time": round(sum(flight["delay"] <= ON_TIME for flight in seen) / len(seen), 4),
        }

    @task
    def load(rows: list[dict[str, Any]]) -> str:
        where = settings()
        airports = list(rows[:])  # a slice: the results of mapped tasks in one request
        report = {
            "run_id": get_current_context()["run_id"],
            "flights": sum(row["flights"] for row in airports),
            "passengers": sum(row["passengers"] for row in airports),
            "airports": airports,
        }
        S3Hook().load_string(json.dumps(report, indent=2), where["output"], where["bucket"], replace=True)
        return f"s3://{where['bucket']}/{where['output']}"

    load(transform.expand(day=extract()))


flights()

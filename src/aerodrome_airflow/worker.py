"""`python -P -m aerodrome_airflow.worker --name NAME …` is `airflow celery worker …` with the node name `celery@NAME`.

Airflow's own `--celery-hostname` asks all workers for their names over the broker first, and in the Celery provider
3.14 to 3.22 that leaves connections behind on which the forked children wait for ever (apache/airflow 59707). The name
is therefore handed to Celery itself, which is what that option does in the end.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from aerodrome_airflow import orphans, quick_start, quick_tasks
from aerodrome_airflow.incarnation import Incarnation
from aerodrome_airflow.launch import run


def name_node(name: str) -> None:
    """Make every worker that this process starts the node `celery@NAME`, heir to killed ones of that name."""
    from celery import Celery

    from aerodrome_airflow.unacked import keep_account, settle_regularly

    worker_main, ours = Celery.worker_main, Incarnation.ours(name)
    keep_account(ours)

    def named(app: Any, argv: Sequence[str] | None = None) -> Any:
        settle_regularly(app, ours)
        return worker_main(app, [*(argv or ["worker"]), "--hostname", f"celery@{name}"])

    Celery.worker_main = named


def plain_pool(autoscale: str) -> list[str]:
    """What makes a pool of fixed size of `celery.worker_autoscale` (`max,min`) if the two are the same.

    Celery's autoscaler would have nothing to do then, but threads to run.
    """
    most, _, least = (part.strip() for part in autoscale.partition(","))
    return ["--autoscale", ""] if most == least else []


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="aerodrome_airflow.worker", allow_abbrev=False)
    parser.add_argument("--name", required=True, help="name of the component")
    options, rest = parser.parse_known_args(arguments)
    quick_start.rarer_garbage_collection()
    quick_start.without_celery_plugins()
    name_node(options.name)
    quick_tasks.install()
    orphans.bind_children()
    run(["celery", "worker", *rest, *plain_pool(os.environ.get("AIRFLOW__CELERY__WORKER_AUTOSCALE", ""))])


if __name__ == "__main__":
    main(sys.argv[1:])

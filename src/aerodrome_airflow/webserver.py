"""`python -P -m aerodrome_airflow.webserver --port PORT` is Airflow 2's web server: gunicorn, without a guardian.

`airflow webserver` imports Airflow, starts gunicorn as another process that imports it again, and stays to watch it.
Supervisor watches here, and gunicorn itself replaces workers that end. There is no pid file either: after a hard kill
its number may be somebody else's, and Airflow would take that process for a web server that is running.
"""

from __future__ import annotations

import argparse
import sys

from aerodrome_airflow import quick_start
from aerodrome_airflow.gatekeeper import Wsgi, closed, expected
from aerodrome_airflow.launch import prepare


def gunicorn_arguments(port: int) -> list[str]:
    """As `airflow webserver` makes them from the configuration."""
    from airflow.configuration import conf

    return [
        *("--workers", conf.get("webserver", "workers")),
        *("--worker-class", conf.get("webserver", "worker_class")),
        *("--timeout", conf.get("webserver", "web_server_worker_timeout")),
        *("--bind", f"{conf.get('webserver', 'web_server_host')}:{port}"),
        *("--name", "airflow-webserver"),
        *("--config", "python:airflow.www.gunicorn_config"),
        *("--graceful-timeout", "25"),  # seconds; less than a stop is given
        *("--error-logfile", "-"),
        "--preload",  # the workers share what the application takes
    ]


def application() -> Wsgi:
    """What gunicorn serves."""
    from airflow.www.app import cached_app

    return closed(cached_app(), expected())


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="aerodrome_airflow.webserver", allow_abbrev=False)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args(arguments).port
    prepare(["webserver"])
    quick_start.prepare(["webserver"])
    quick_start.import_airflow()
    from gunicorn.app.wsgiapp import run

    sys.argv = ["gunicorn", *gunicorn_arguments(port), "aerodrome_airflow.webserver:application()"]
    run()


if __name__ == "__main__":
    main(sys.argv[1:])

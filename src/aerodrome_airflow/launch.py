"""What every process of an environment does before it becomes Airflow."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from aerodrome_airflow import dag_folder, gatekeeper, options, quick_start, shared_port

_HERE = Path(__file__).resolve().parent


def prepare(arguments: list[str]) -> None:
    """Point Airflow at the files that lie beside this one, and make `arguments` its command line.

    A configuration file that is there already keeps processes that start at the same time from writing one each, and
    an `airflow.cfg` of another version from being read.
    """
    os.environ["AIRFLOW_CONFIG"] = str(_HERE / "airflow.cfg")
    for option in ("AIRFLOW__FAB__CONFIG_FILE", "AIRFLOW__WEBSERVER__CONFIG_FILE"):  # of Airflow 3 and 2
        os.environ[option] = str(_HERE / "webserver_config.py")
    sys.argv = ["airflow", *arguments]
    options.install()


def run(arguments: list[str]) -> None:
    """`airflow ARGUMENTS`, in this process."""
    prepare(arguments)
    quick_start.prepare(arguments)
    shared_port.install()
    if arguments[:1] == ["api-server"]:
        gatekeeper.install()
    quick_start.import_airflow()  # which reads the environment now
    if arguments[:1] == ["dag-processor"]:
        dag_folder.install()
    from airflow.__main__ import main

    main()

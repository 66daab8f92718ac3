"""The peer: `airflow standalone`, which is what people start who want an Airflow on one machine now."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from aerodrome.cli.demo_data import dag_file
from aerodrome.machineroom import memory
from bench.measure import megabytes, until
from support.postgres import free_port

DAG = "hello"
REST = 10.0  # seconds after its first run, before memory is read


@dataclass(frozen=True, slots=True)
class Major:
    """What differs for `airflow standalone` between the majors. `{port}` is filled in."""

    variables: Mapping[str, str]
    health: str
    parts: tuple[str, ...]  # of the health document, that standalone runs
    api: str
    run: Mapping[str, Any]  # body that starts a run


MAJORS = {
    2: Major(
        variables={
            "AIRFLOW__WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",
            "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": "{port}",
            "AIRFLOW__API__AUTH_BACKENDS": "airflow.providers.fab.auth_manager.api.auth.backend.basic_auth",
            "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "5",
        },
        health="/health",
        parts=("scheduler", "triggerer", "metadatabase"),
        api="/api/v1",
        run={"conf": {}},
    ),
    3: Major(
        variables={
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": "{port}",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://127.0.0.1:{port}/execution/",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        },
        health="/api/v2/monitor/health",
        parts=("scheduler", "triggerer", "dag_processor", "metadatabase"),
        api="/api/v2",
        run={"logical_date": None},
    ),
}


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from nothing to healthy and to the first succeeded run; MB at rest."""

    healthy: float
    first_run: float
    memory: float


@contextmanager
def ready(python: Path, version: str) -> Iterator[tuple[Path, httpx.Client, str]]:
    """A running one: its DAG folder, a client that is signed in, and the path of its API."""
    major = MAJORS[int(version.partition(".")[0])]
    home, port = Path(tempfile.mkdtemp(prefix="aero-peer-", dir="/tmp")), free_port()
    (home / "dags").mkdir()
    try:
        with (
            _running(python, home, major, port),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http,
        ):
            until("standalone", lambda: _healthy(http, major))
            _sign_in(http, home, major)
            yield home / "dags", http, major.api
    finally:
        shutil.rmtree(home, ignore_errors=True)


def restarts(python: Path, version: str, rounds: int) -> list[float]:
    """Seconds from ending a running one, as a new package asks for, until it is healthy again."""
    major = MAJORS[int(version.partition(".")[0])]
    home, port, found = Path(tempfile.mkdtemp(prefix="aero-peer-", dir="/tmp")), free_port(), list[float]()
    (home / "dags").mkdir()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:
            for _ in range(rounds + 1):
                started = time.monotonic()
                with _running(python, home, major, port):
                    until("standalone", lambda: _healthy(http, major))
                    found.append(time.monotonic() - started)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return found[1:]  # the first made the database


def measure(python: Path, version: str) -> Start:
    """Start it from an empty home, run one DAG, end it. `python` is that of the compiled runtime."""
    major = MAJORS[int(version.partition(".")[0])]
    home = Path(tempfile.mkdtemp(prefix="aero-peer-", dir="/tmp"))
    try:
        return _measure(python, home, major)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _measure(python: Path, home: Path, major: Major) -> Start:
    (home / "dags").mkdir()
    (home / "dags" / f"{DAG}.py").write_bytes(dag_file(f"{DAG}.py"))
    port = free_port()
    started = time.monotonic()
    with (
        _running(python, home, major, port) as root,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http,
    ):
        until("standalone", lambda: _healthy(http, major))
        healthy = time.monotonic() - started
        _sign_in(http, home, major)
        until("the DAG", lambda: http.get(f"{major.api}/dags/{DAG}").status_code == 200)
        run = http.post(f"{major.api}/dags/{DAG}/dagRuns", json=major.run).raise_for_status().json()["dag_run_id"]
        path = f"{major.api}/dags/{DAG}/dagRuns/{run}"
        until("the run", lambda: http.get(path).json()["state"] == "success")
        first_run = time.monotonic() - started
        time.sleep(REST)
        return Start(healthy, first_run, megabytes([root]))


@contextmanager
def _running(python: Path, home: Path, major: Major, port: int) -> Iterator[int]:
    variables = {
        "PATH": f"{python.parent}:/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        **{name: value.format(port=port) for name, value in major.variables.items()},
    }
    with (home / "standalone.log").open("wb") as log:
        process = subprocess.Popen(
            [python.parent / "airflow", "standalone"],
            env=variables,
            cwd=home,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        for pid in memory.tree(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()


def _healthy(http: httpx.Client, major: Major) -> bool:
    try:
        report = http.get(major.health).json()
    except (httpx.HTTPError, ValueError):
        return False
    return all((report.get(part) or {}).get("status") == "healthy" for part in major.parts)


def _sign_in(http: httpx.Client, home: Path, major: Major) -> None:
    """3 hands a token to anybody, as it was told to; 2 wrote its administrator's password into a file."""
    password = home / "standalone_admin_password.txt"
    if major is MAJORS[2]:
        http.auth = httpx.BasicAuth("admin", password.read_text().strip())
    else:
        http.headers["Authorization"] = f"Bearer {http.get('/auth/token').json()['access_token']}"

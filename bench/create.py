"""How long until an environment can work, and how much memory it takes, beside `airflow standalone`.

Both sides: the same Airflow, the same Python, the same compiled runtime, on this machine, one after the other. Prints
raw times and ratios, and writes JSON. `--quick` does one round; the default is the median of five.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from aerodrome.cli.demo_data import dag_file
from aerodrome.machineroom import shell
from support.postgres import free_port
from support.site import Site, wait_for

VERSION = "3.3.1"
PARTS = ("scheduler", "triggerer", "dag_processor", "metadatabase")


def pss(pids: list[int]) -> float:
    """Proportional set size in MB: shared pages counted once."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1000


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    found, todo = [], [root]
    while todo:
        found.append(pid := todo.pop())
        todo += children.get(pid, [])
    return found


def pids_of(site: Site, *, environments: bool) -> list[int]:
    """Processes of the environments' components, or of the machine room."""
    records = [entry for entry in (site.layout.run / "pids").iterdir() if ("." in entry.name) == environments]
    roots = [int(entry.read_text().split()[0]) for entry in records if not entry.name.startswith("runtimes.")]
    return [pid for root in roots for pid in tree(root)]


def elapsed(what: str, look: Callable[[], Any], started: float) -> float:
    wait_for(what, look, 300)
    return time.monotonic() - started


def ours(site: Site, name: str) -> dict[str, float]:
    """CreateEnvironment until AVAILABLE, until the first succeeded DAG run; memory once idle."""
    mwaa = site.client("mwaa")
    described = mwaa.get_environment(Name="demo")["Environment"]
    members = ("SourceBucketArn", "DagS3Path", "ExecutionRoleArn", "NetworkConfiguration")
    started = time.monotonic()
    mwaa.create_environment(Name=name, **{member: described[member] for member in members})
    available = elapsed(
        "AVAILABLE", lambda: mwaa.get_environment(Name=name)["Environment"]["Status"] == "AVAILABLE", started
    )

    def call(path: str, method: str = "GET", **rest: Any) -> Any:
        try:
            return mwaa.invoke_rest_api(Name=name, Path=path, Method=method, **rest)["RestApiResponse"]
        except mwaa.exceptions.RestApiClientException:
            return None

    wait_for("the DAG", lambda: call("/dags/hello"))
    call("/dags/hello", "PATCH", Body={"is_paused": False})
    wait_for("a run", lambda: call("/dags/hello/dagRuns", "POST", Body={"logical_date": None}))
    first = elapsed("success", lambda: call("/dags/hello/dagRuns")["dag_runs"][0]["state"] == "success", started)
    mwaa.delete_environment(Name=name)
    wait_for("the delete", lambda: name not in mwaa.list_environments()["Environments"])
    return {"healthy": available, "first run": first}


@contextmanager
def standalone(python: Path, home: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    (home / "dags").mkdir(parents=True)
    (home / "dags" / "hello.py").write_bytes(dag_file("hello.py"))
    variables = {
        "PATH": f"{python.parent}:/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
    }
    process = subprocess.Popen(
        [python.parent / "airflow", "standalone"],
        env=variables,
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process, port
    finally:
        for pid in tree(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()


def peer(python: Path) -> dict[str, float]:
    """`airflow standalone` from an empty home until healthy, until the first succeeded DAG run; memory then."""
    home = Path(tempfile.mkdtemp(prefix="aero-bench-", dir="/tmp"))
    started = time.monotonic()
    try:
        with (
            standalone(python, home) as (process, port),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http,
        ):

            def healthy() -> bool:
                try:
                    report = http.get("/api/v2/monitor/health").json()
                except (httpx.HTTPError, ValueError):
                    return False
                return all((report.get(part) or {}).get("status") == "healthy" for part in PARTS)

            up = elapsed("standalone", healthy, started)
            token = http.get("/auth/token").json()["access_token"]
            http.headers["Authorization"] = f"Bearer {token}"
            wait_for("the DAG", lambda: http.get("/api/v2/dags/hello").status_code == 200)
            http.patch("/api/v2/dags/hello", json={"is_paused": False})
            run = http.post("/api/v2/dags/hello/dagRuns", json={"logical_date": None}, timeout=30).json()["dag_run_id"]
            path = f"/api/v2/dags/hello/dagRuns/{run}"
            first = elapsed("success", lambda: http.get(path).json()["state"] == "success", started)
            return {"healthy": up, "first run": first, "memory": pss(tree(process.pid))}
    finally:
        shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round instead of the median of five")
    parser.add_argument("--json", type=Path, default=Path("bench-create.json"), help="where the figures go")
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else 5
    home = Path(tempfile.mkdtemp(prefix="aero-bench-", dir="/tmp"))
    home.chmod(0o711)
    site = Site(home)
    os.environ["AWS_DISABLE_HOST_PREFIX_INJECTION"] = "true"
    try:
        started = time.monotonic()
        site.aerodrome("demo")
        cold = time.monotonic() - started
        site.variables = shell.variables(site.layout, site.installation)
        time.sleep(20)  # let the first environment come to rest
        memory = pss(pids_of(site, environments=True))
        room = pss(pids_of(site, environments=False))
        (python,) = site.layout.runtimes.glob(f"{VERSION}-*/bin/python")
        second = ours(site, "second")  # beside the demo's environment, which idles
        mine = [ours(site, f"bench-{number}") for number in range(rounds)]
        site.aerodrome("down", "--now")
        theirs = [peer(python) for _ in range(rounds)]
    finally:
        site.aerodrome("down", "--now", check=False)
        site.aerodrome("purge", "--yes", check=False)
        shutil.rmtree(home, ignore_errors=True)
    figures: dict[str, Any] = {
        "airflow": VERSION,
        "rounds": rounds,
        "cold demo, s": cold,
        "second environment, s": second,
        "machine room and control plane, MB": room,
        "idle environment, MB": memory,
        "ours": mine,
        "standalone": theirs,
    }
    arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"Airflow {VERSION}, median of {rounds}; an idle environment runs beside ours")
    for figure in ("healthy", "first run"):
        a = statistics.median(round_[figure] for round_ in mine)
        b = statistics.median(round_[figure] for round_ in theirs)
        print(f"{figure:>12}: Aerodrome {a:5.1f} s   airflow standalone {b:5.1f} s   ratio {a / b:.2f}")
    b = statistics.median(round_["memory"] for round_ in theirs)
    print(f"{'memory':>12}: environment {memory:.0f} MB + machine room {room:.0f} MB   airflow standalone {b:.0f} MB")
    print(f"{'cold':>12}: from nothing to a checked DAG run {cold:.1f} s (download and build included)")


if __name__ == "__main__":
    main()

"""Our side: an installation of its own, and environments made in it through the API as anybody would."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aerodrome.cli.demo_data import dag_file
from aerodrome.machineroom import shell
from aerodrome.supervision import daemon
from aerodrome.supervision.files import Files
from bench.load import Target, answer
from bench.measure import megabytes, until
from bench.standalone import DAG, MAJORS, REST
from support.site import Site

_DAGS = "bench-dags"
_COPIED = ("SourceBucketArn", "ExecutionRoleArn", "NetworkConfiguration", "AirflowVersion")


@contextmanager
def installation(settings: Mapping[str, str] | None = None) -> Iterator[Site]:
    """An empty one, purged at the end. `settings`: AERODROME_… of all its commands."""
    home = Path(tempfile.mkdtemp(prefix="aero-bench-", dir="/tmp"))
    home.chmod(0o711)
    site = Site(home, settings=dict(settings or {}))
    try:
        yield site
    finally:
        site.aerodrome("down", "--now", check=False)
        site.aerodrome("purge", "--yes", check=False)
        shutil.rmtree(home, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Cold:
    """Seconds of a first `aerodrome demo` on a machine that has nothing yet."""

    whole: float
    download: float  # of Airflow's packages from the registry, unpacked
    build: float  # what else makes the runtime: links, our part, bytecode


@dataclass(frozen=True, slots=True)
class Made:
    """Seconds from CreateEnvironment to AVAILABLE and to the first succeeded run; MB at rest."""

    available: float
    first_run: float
    memory: float


def cold(site: Site, version: str) -> Cold:
    """Run the demo in an empty installation: then the environment `demo` is there, and its runtime is complete."""
    started = time.monotonic()
    site.aerodrome("demo", "--airflow-version", version)
    whole = time.monotonic() - started
    site.variables = shell.variables(site.layout, site.installation)
    until("the rest of the bytecode", lambda: any(site.layout.runtimes.glob(f"{version}-*/.compiled")))
    return Cold(whole, *_phases(events(site, "demo")))


def events(site: Site, name: str) -> list[Mapping[str, Any]]:
    """Its history, oldest first."""
    installation = site.installation
    target = Target(
        installation.endpoint, installation.region, installation.admin_access_key, installation.admin_secret_key
    )
    found: list[Mapping[str, Any]] = json.loads(answer(target, f"/_aerodrome/environments/{name}/events").body)[
        "Events"
    ]
    return found


def _phases(told: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Seconds of the download, and of the build behind it, as the environment's history tells them."""

    def first(start: str) -> float:
        return float(next(event["At"] for event in told if event["Message"].startswith(start)))

    installed = [event["At"] for event in told if event["Data"].get("step") == "ensure_runtime"][-1]
    download, build = first("Downloading Airflow"), first("Compiling")
    ready = next((event["At"] for event in told if event["Message"].startswith("Runtime ")), installed)
    return build - download, ready - build


def runtime(site: Site, version: str) -> Path:
    """The Python of the version's runtime."""
    (folder,) = site.layout.runtimes.glob(f"{version}-*")
    return folder / "bin" / "python"


def furnish(site: Site) -> Mapping[str, Any]:
    """A folder with the one DAG that the peer has too; what CreateEnvironment is given besides a name."""
    described = site.client("mwaa").get_environment(Name="demo")["Environment"]
    site.client("s3").put_object(Bucket=site.bucket, Key=f"{_DAGS}/{DAG}.py", Body=dag_file(f"{DAG}.py"))
    return {**{member: described[member] for member in _COPIED}, "DagS3Path": _DAGS}


def measure(site: Site, name: str, members: Mapping[str, Any], version: str) -> Made:
    """Create it, run one DAG, let it rest, delete it."""
    mwaa = site.client("mwaa")
    started = time.monotonic()
    mwaa.create_environment(Name=name, **members)
    until("AVAILABLE", lambda: _status(mwaa, name) == "AVAILABLE")
    available = time.monotonic() - started

    def call(path: str, method: str = "GET", **rest: Any) -> Any:
        try:
            return mwaa.invoke_rest_api(Name=name, Path=path, Method=method, **rest)["RestApiResponse"]
        except (mwaa.exceptions.RestApiClientException, mwaa.exceptions.RestApiServerException):  # not parsed yet
            return None

    until("the DAG", lambda: call(f"/dags/{DAG}"))
    body = MAJORS[int(version.partition(".")[0])].run
    run = until("a run", lambda: call(f"/dags/{DAG}/dagRuns", "POST", Body=body))["dag_run_id"]
    until("its end", lambda: call(f"/dags/{DAG}/dagRuns/{run}")["state"] == "success")
    first_run = time.monotonic() - started
    time.sleep(REST)
    made = Made(available, first_run, memory_of(site).environments[name])
    delete(site, name)
    return made


def delete(site: Site, name: str) -> None:
    mwaa = site.client("mwaa")
    mwaa.delete_environment(Name=name)
    until("the delete", lambda: name not in mwaa.list_environments()["Environments"])


def _status(mwaa: Any, name: str) -> str:
    status: str = mwaa.get_environment(Name=name)["Environment"]["Status"]
    if status == "CREATE_FAILED":
        raise RuntimeError(f"{name} is CREATE_FAILED: `aerodrome env events {name}` tells why")
    return status


@dataclass(frozen=True, slots=True)
class Memory:
    """MB: `room` is everything that is no environment's (control plane, servers, Supervisor itself)."""

    room: float
    parts: Mapping[str, float]
    environments: Mapping[str, float]  # by name


def memory_of(site: Site) -> Memory:
    """What `aerodrome status` shows, and Supervisor. What its connections take of PostgreSQL is the environment's."""
    status = json.loads(site.aerodrome("status", "--json").stdout)
    names = {row["id"]: row["name"] for row in status["environments"]}
    parts: dict[str, float] = {}
    environments: dict[str, float] = {}
    for program in status["programs"]:
        size = (program["memory"] or 0) / 1e6
        if program["environment"] is None:
            parts[program["name"]] = size
        elif program["environment"] in names:
            name = names[program["environment"]]
            environments[name] = environments.get(name, 0) + size
    for taken in status["connections"]:
        if name := names.get(taken["environment"]):
            environments[name] = environments.get(name, 0) + taken["memory"] / 1e6
    supervisor = daemon.owner(Files.of(site.layout))
    if supervisor is None:
        raise RuntimeError("Supervisor doesn't run")
    whole = megabytes([supervisor])
    parts["supervisor"] = whole - sum(parts.values()) - sum(environments.values())
    return Memory(sum(parts.values()), parts, environments)

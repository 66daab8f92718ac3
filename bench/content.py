"""How long a DAG file takes to Airflow's list of DAGs, beside `airflow standalone`; what an idle bucket costs.

Both sides: the same Airflow, the same Python, the same compiled runtime, on this machine, one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

from aerodrome.domain.versions import VERSIONS
from aerodrome.machineroom import shell
from bench import dag_files, idle_sync, managed, requirement_update, standalone
from bench.dag_files import Latencies
from bench.measure import Figure, Report, Samples, Target
from bench.plot import plot

ROUNDS = 20
PEER_ROUNDS = 5  # where every step waits for an interval
OBJECTS = 10_000
MINUTES = 3
NEW = Target("most", 3.0)  # seconds, at p95, where S3 tells of a write
UPDATES = 3
UPDATE = Target("most", 30.0)  # seconds
_STEPS = {"new": "a new DAG file", "changed": "a changed DAG file", "deleted": "a deleted DAG file"}
_UPDATE_NOTES = (
    "Seconds from UpdateEnvironment to AVAILABLE with one small package more; nothing that runs is ended before what",
    "replaces it is healthy, and tasks go on. airflow standalone: ended and started again, without the time that",
    "somebody takes to install the package; what runs in it is lost.",
)
_NOTES = (
    "Seconds from the beginning of put_object or delete_object until the REST API lists the DAG, lists its new",
    "description, or lists it no more. Both sides are asked every 0.2 s; each step begins after a random pause of up",
    f"to 5 s, or 1 s where nothing is polled. Polled ({PEER_ROUNDS} rounds): put past the control plane, which finds",
    "it at its next look (every 5 s), as with an S3 that tells nobody. airflow standalone (likewise): the file is",
    "written into its folder, which it lists every 5 s.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"three rounds instead of {ROUNDS}")
    parser.add_argument("--versions", default=",".join(VERSIONS), help="versions of Airflow, with commas between")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder for the JSON and the plots")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ["AWS_DISABLE_HOST_PREFIX_INJECTION"] = "true"
    for version in arguments.versions.split(","):
        latency, updates = _version(version, arguments)
        _keep(latency, arguments.out / f"content-{version}")
        _keep(updates, arguments.out / f"requirements-{version}")
    _keep(_idle(1 if arguments.quick else MINUTES), arguments.out / "content-idle")


def _keep(report: Report, path: Path) -> None:
    report.print()
    path.with_name(f"{path.name}.json").write_text(json.dumps(report.document(), indent=2) + "\n")
    plot(report, path.with_name(f"{path.name}.png"))


def _version(version: str, arguments: argparse.Namespace) -> tuple[Report, Report]:
    rounds, slow, updates = (3, 3, 1) if arguments.quick else (ROUNDS, PEER_ROUNDS, UPDATES)
    with managed.installation() as site:
        managed.cold(site, version)
        python = managed.runtime(site, version)
        told = dag_files.measure(dag_files.Bucket.told(site, "demo"), rounds)
        polled = dag_files.measure(dag_files.Bucket.polled(site, "demo"), slow)
        updated = requirement_update.measure(site, "demo", updates)
        managed.delete(site, "demo")
        with standalone.ready(python, version) as (dags, http, api):
            theirs = dag_files.measure(dag_files.Folder(dags, http, api), slow)
        restarts = standalone.restarts(python, version, updates)
    return _latency(version, rounds, (told, polled, theirs)), _updates(version, updated, restarts)


def _latency(version: str, rounds: int, found: tuple[Latencies, Latencies, Latencies]) -> Report:
    told, polled, theirs = found
    report = Report(f"Airflow {version}: from the bucket to the list of DAGs", "airflow standalone", rounds)
    for step, title in _STEPS.items():
        other = getattr(theirs, step)
        report.figures += _pair(title, getattr(told, step), other, NEW if step == "new" else None)
        report.figures += _pair(f"{title}, polled", getattr(polled, step), other)
    report.notes += _NOTES
    return report


def _updates(version: str, found: requirement_update.Updates, restarts: Sequence[float]) -> Report:
    report = Report(f"Airflow {version}: one package more", "airflow standalone", len(restarts))
    beside = "the idle machine room"
    report.figures += [
        Figure("UpdateEnvironment to AVAILABLE", "s", Samples(found.whole), Samples(restarts), UPDATE, beside),
        *(Figure(f"  {phase}", "s", Samples(seconds), beside=beside) for phase, seconds in found.phases.items()),
    ]
    report.notes += _UPDATE_NOTES
    return report


def _pair(title: str, mine: Sequence[float], theirs: Sequence[float], target: Target | None = None) -> list[Figure]:
    beside = "the idle machine room"
    return [
        Figure(f"{title}: median", "s", Samples(mine), Samples(theirs), None, beside),
        Figure(f"{title}: p95", "s", Samples([_p95(mine)]), Samples([_p95(theirs)]), target, beside),
    ]


def _p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[18]


def _idle(minutes: int) -> Report:
    with managed.installation() as site:
        site.aerodrome("up", "--detach")
        site.variables = shell.variables(site.layout, site.installation)
        idle_sync.fill(site, OBJECTS)
        found = idle_sync.measure(site, minutes)
    beside = "the idle machine room, no environment"
    report = Report(f"An idle DAG folder of {OBJECTS:,} objects, each minute", "-", minutes)
    report.figures += [
        Figure("requests to S3", "requests/min", Samples([each.requests for each in found]), beside=beside),
        Figure(
            "processor time of the synchronisation", "CPU s/min", Samples([each.sync for each in found]), beside=beside
        ),
        Figure(
            "processor time of the embedded S3", "CPU s/min", Samples([each.cloud for each in found]), beside=beside
        ),
    ]
    return report


if __name__ == "__main__":
    main()

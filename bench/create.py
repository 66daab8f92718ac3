"""How long until an environment can work, and what memory it takes, beside `airflow standalone`.

Both sides: the same Airflow, the same Python, the same compiled runtime, on this machine, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from aerodrome.domain.versions import VERSIONS
from bench import managed, standalone
from bench.measure import Figure, Report, Samples, Target
from bench.plot import plot

# Of the time or memory of the peer, or in MB.
TARGETS = {
    "3.3.1": {"available": 1.25, "first run": 1.4, "environment": 1300.0},
    "2.11.2": {"available": 0.65, "first run": 0.65, "environment": 1900.0},
}
ROOM = 250.0  # MB
_ALONE = "the idle machine room, no environment"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round instead of the median of five")
    parser.add_argument("--versions", default=",".join(VERSIONS), help="versions of Airflow, with commas between")
    parser.add_argument("--sandbox", choices=("auto", "on", "off"), default="auto", help="AERODROME_SANDBOX")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder for the JSON and the plot")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ["AWS_DISABLE_HOST_PREFIX_INJECTION"] = "true"
    rounds = 1 if arguments.quick else 5
    for version in arguments.versions.split(","):
        report = _measure(version, rounds, arguments.sandbox)
        report.print()
        name = f"create-{version}" + ("" if arguments.sandbox == "auto" else f"-sandbox-{arguments.sandbox}")
        (arguments.out / f"{name}.json").write_text(json.dumps(report.document(), indent=2) + "\n")
        plot(report, arguments.out / f"{name}.png")


def _measure(version: str, rounds: int, sandbox: str) -> Report:
    with managed.installation({"AERODROME_SANDBOX": sandbox}) as site:
        cold = managed.cold(site, version)
        members = managed.furnish(site)
        second = managed.measure(site, "second", members, version)
        idle = managed.memory_of(site)
        managed.delete(site, "demo")
        python = managed.runtime(site, version)
        mine: list[managed.Made] = []
        theirs: list[standalone.Start] = []
        for number in range(rounds):
            mine.append(managed.measure(site, f"bench-{number}", members, version))
            theirs.append(standalone.measure(python, version))
    report = Report(f"Airflow {version}: from nothing to work", "airflow standalone", rounds)
    report.figures += _figures(version, mine, theirs, second, idle)
    report.figures += _cold_figures(cold)
    parts = ", ".join(f"{name} {size:.0f}" for name, size in sorted(idle.parts.items(), key=lambda item: -item[1]))
    report.notes.append(
        f"airflow standalone: healthy, and a run triggered as soon as its API takes one; a database in a file, tasks"
        f" without a broker. Machine room in MB: {parts}."
    )
    return report


def _figures(
    version: str,
    mine: Sequence[managed.Made],
    theirs: Sequence[standalone.Start],
    second: managed.Made,
    idle: managed.Memory,
) -> list[Figure]:
    asked = TARGETS.get(version, {})

    def target(kind: str, name: str) -> Target | None:
        return Target(kind, asked[name]) if name in asked else None

    healthy = Samples([start.healthy for start in theirs])
    first_run = Samples([start.first_run for start in theirs])
    beside = "the idle environment `demo`"
    return [
        Figure(
            "CreateEnvironment to AVAILABLE, runtime built",
            "s",
            Samples([made.available for made in mine]),
            healthy,
            target("ratio", "available"),
            _ALONE,
        ),
        Figure(
            "to the first succeeded DAG run",
            "s",
            Samples([made.first_run for made in mine]),
            first_run,
            target("ratio", "first run"),
            _ALONE,
        ),
        Figure("second environment, to AVAILABLE", "s", Samples([second.available]), None, None, beside),
        Figure("second environment, to its first run", "s", Samples([second.first_run]), None, None, beside),
        Figure(
            "memory of an idle environment",
            "MB",
            Samples([made.memory for made in mine]),
            Samples([start.memory for start in theirs]),
            target("most", "environment"),
            _ALONE,
        ),
        Figure(
            "memory of control plane and machine room", "MB", Samples([idle.room]), None, Target("most", ROOM), beside
        ),
    ]


def _cold_figures(cold: managed.Cold) -> list[Figure]:
    whole = "nothing: an empty home, an empty cache"
    return [
        Figure("cold `aerodrome demo`, to a checked result", "s", Samples([cold.whole]), beside=whole, panel="once"),
        Figure("of it, downloading Airflow", "s", Samples([cold.download]), beside=whole, panel="once"),
        Figure("of it, building the runtime", "s", Samples([cold.build]), beside=whole, panel="once"),
    ]


if __name__ == "__main__":
    main()

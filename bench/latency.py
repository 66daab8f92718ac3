"""How long GetEnvironment and ListEnvironments take, beside ministack's own MWAA; every request signed and authorised.

The same client asks both in turns, a hundred requests at a time, so that what else the machine does hits both.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import peers
from bench.load import Target, answer, ask
from bench.managed import installation
from bench.measure import Figure, Report, Samples, cpu_seconds
from bench.measure import Target as Wanted
from bench.plot import plot

ENVIRONMENTS = 10
SLICE, SLICES = 100, 20  # requests to one side before it is the other's turn; turns in a round
PATHS = {"GetEnvironment": f"/environments/{peers.names(1)[0]}", "ListEnvironments": "/environments"}
CLIENTS = (1, 8)
FASTER = Wanted("faster", 2.0)  # at the median
_ALIKE = (
    "Both verify the signature of every request and evaluate the caller's IAM policies (an IAM user with"
    " AdministratorAccess). ministack decides on `airflow:*` actions for the resource `*` only, keeps environments in"
    " memory and logs no line per call; Aerodrome decides on the environment's ARN, reads PostgreSQL and logs."
    " CPU is that of all processes which answer: ministack; control plane and PostgreSQL."
)
_BESIDE = "the client, and the other side idle"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round instead of the median of five")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder for the JSON and the plot")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ["AWS_DISABLE_HOST_PREFIX_INJECTION"] = "true"
    report = _measure(1 if arguments.quick else 5)
    report.print()
    (arguments.out / "latency.json").write_text(json.dumps(report.document(), indent=2) + "\n")
    plot(report, arguments.out / "latency.png")


def _measure(rounds: int) -> Report:
    report = Report(f"API latency with authentication, {ENVIRONMENTS} environments", "ministack", rounds)
    folder = Path(tempfile.mkdtemp(prefix="aero-peer-", dir="/tmp"))
    try:
        with installation() as site:
            site.aerodrome("up", "--detach")
            ours = peers.aerodrome(site, ENVIRONMENTS)
            with peers.ministack(site, folder, ENVIRONMENTS) as theirs:
                report.notes += _alike({"Aerodrome": ours, "ministack": theirs})
                for operation, path in PATHS.items():
                    for clients in CLIENTS:
                        report.figures += _figures(operation, path, clients, ours, theirs, rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return report


@dataclass(slots=True)
class _Side:
    """What one side did in one round."""

    target: Target
    times: list[float] = field(default_factory=list)  # seconds, of each answer
    cpu: float = 0.0  # seconds, of all answers

    def ask(self, path: str, clients: int) -> None:
        before = cpu_seconds(self.target.processes)
        self.times += ask(self.target, path, clients=clients, requests=SLICE)
        self.cpu += cpu_seconds(self.target.processes) - before

    def centile(self, number: int) -> float:
        return statistics.quantiles(self.times, n=100)[number - 1] * 1000

    @property
    def cpu_each(self) -> float:
        return self.cpu / len(self.times) * 1000


def _figures(operation: str, path: str, clients: int, ours: Target, theirs: Target, rounds: int) -> list[Figure]:
    panel = f"{clients} client{'s' * (clients > 1)}"
    pairs = [_round(path, clients, ours, theirs) for _ in range(rounds)]

    def figure(what: str, value: Callable[[_Side], float], target: Wanted | None = None) -> Figure:
        mine, other = (Samples([value(pair[side]) for pair in pairs]) for side in (0, 1))
        return Figure(f"{operation}, {panel}: {what}", "ms", mine, other, target, _BESIDE, panel)

    return [
        figure("p50", lambda side: side.centile(50), FASTER),
        figure("p99", lambda side: side.centile(99)),
        figure("CPU", lambda side: side.cpu_each),
    ]


def _round(path: str, clients: int, ours: Target, theirs: Target) -> tuple[_Side, _Side]:
    mine, other = _Side(ours), _Side(theirs)
    for _ in range(SLICES):
        mine.ask(path, clients)
        other.ask(path, clients)
    return mine, other


def _alike(targets: Mapping[str, Target]) -> list[str]:
    """Both must refuse what is badly signed, and answer the same question; what differs is told.

    Raises:
        RuntimeError: they aren't alike, so there is nothing to compare.
    """
    notes = [_ALIKE]
    for who, target in targets.items():
        forged = answer(replace(target, secret_key="x" * 40), "/environments")
        if forged.status != 403:
            raise RuntimeError(f"{who} takes a forged signature ({forged.status}): its authentication is off")
        listed = answer(target, PATHS["ListEnvironments"])
        if json.loads(listed.body)["Environments"] != peers.names(ENVIRONMENTS):
            raise RuntimeError(f"{who} lists other environments: {listed.body!r}")
        size = len(answer(target, PATHS["GetEnvironment"]).body)
        notes.append(f"{who}: a forged signature is refused with 403; GetEnvironment answers {size} bytes.")
    return notes


if __name__ == "__main__":
    main()

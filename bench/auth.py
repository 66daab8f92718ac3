"""What authentication and authorisation cost each request, beside a peer's."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import auth_api, auth_gateway
from bench.measure import Figure, Report

# Each takes the number of rounds, and gives figures and notes.
PARTS: Sequence[Callable[[int], tuple[list[Figure], list[str]]]] = (auth_api.measure, auth_gateway.measure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round instead of the median of five")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder for the JSON")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rounds = 1 if arguments.quick else 5
    report = Report("Authentication and authorisation per request", auth_api.PEER, rounds)
    for part in PARTS:
        figures, notes = part(rounds)
        report.figures += figures
        report.notes += notes
    report.print()
    (arguments.out / "auth.json").write_text(json.dumps(report.document(), indent=2) + "\n")


if __name__ == "__main__":
    main()

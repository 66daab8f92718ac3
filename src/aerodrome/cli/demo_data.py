"""The demo's input and the answer that its pipeline must come to, worked out here in another way."""

from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction
from importlib.resources import files
from typing import Any

AIRPORTS = ("AMS", "CDG", "DUB", "FRA", "HEL", "JFK", "LIS", "NRT", "OSL", "SYD", "VIE", "ZRH")
DAG_FILES = ("flights.py", "hello.py")
_FLIGHTS = 1200
_HEADER = "flight,airport,passengers,delay_minutes"


def dag_file(name: str) -> bytes:
    """One of the example DAGs that are part of this package."""
    return files("aerodrome.cli").joinpath("demo_dags", name).read_bytes()


def flights_csv(seed: int = 2026) -> str:
    """A day's flights; the same seed is the same file."""
    chance = random.Random(seed)  # noqa: S311 - made-up flights are no secret
    rows = [
        f"AE{number:04},{chance.choice(AIRPORTS)},{chance.randint(40, 380)},{max(0, round(chance.gauss(12, 15)))}"
        for number in range(1, _FLIGHTS + 1)
    ]
    return "\n".join([_HEADER, *rows]) + "\n"


def expected_report(text: str) -> dict[str, Any]:
    """What the pipeline must find in that file (`run_id` left out)."""
    rows = [line.split(",") for line in text.splitlines()[1:]]
    airports = []
    for airport in sorted({row[1] for row in rows}):
        passengers = [int(row[2]) for row in rows if row[1] == airport]
        delays = [int(row[3]) for row in rows if row[1] == airport]
        on_time = Fraction(len([delay for delay in delays if delay <= 15]), len(delays))
        airports.append(
            {
                "airport": airport,
                "flights": len(delays),
                "passengers": sum(passengers),
                "mean_delay": round(float(Fraction(sum(delays), len(delays))), 2),
                "on_time": round(float(on_time), 4),
            }
        )
    return {"flights": len(rows), "passengers": sum(int(row[2]) for row in rows), "airports": airports}


def differences(report: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """What is wrong with a report, one line each; empty when it is right."""
    return [
        f"{member} is {report.get(member)!r}, not {value!r}"
        for member, value in expected.items()
        if report.get(member) != value
    ]

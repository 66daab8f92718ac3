"""How a job says how far it is: lines on standard output that its log keeps and the reconciler reads."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(r"aerodrome: phase=([a-z-]+) percent=(\d{1,3}) ?(.*)")


@dataclass(frozen=True, slots=True)
class Progress:
    """One report: `percent` of the whole job (0 to 100), `text` for a person."""

    phase: str
    percent: int
    text: str

    def __str__(self) -> str:
        return f"aerodrome: phase={self.phase} percent={self.percent} {self.text}".rstrip()


def parse(line: str) -> Progress | None:
    """The report in a line of a job's output, or None when it is anything else."""
    match = _LINE.fullmatch(line.strip())
    return Progress(match[1], min(100, int(match[2])), match[3]) if match else None


def latest(output: str) -> Progress | None:
    """The last report in a job's output."""
    return next((found for line in reversed(output.splitlines()) if (found := parse(line))), None)


def report(phase: str, percent: int, text: str) -> None:
    """Say how far this job is, at once."""
    print(Progress(phase, percent, text), flush=True)  # noqa: T201 — the job's interface

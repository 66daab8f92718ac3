"""What a measurement is made of: waiting to the tenth of a second, memory, and figures with their targets."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from aerodrome.machineroom import memory

T = TypeVar("T")
PAUSE = 0.2  # seconds between two looks, at either side


def until(what: str, look: Callable[[], T | None], patience: float = 300) -> T:
    """The first answer of `look` that is true.

    Raises:
        TimeoutError: there was none within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while True:
        if found := look():
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience:.0f} s in vain for {what}")
        time.sleep(PAUSE)


def megabytes(roots: Iterable[int]) -> float:
    """Memory of processes and all their descendants: PSS (who shares a page has a part of it), in 10^6 bytes."""
    return sum(size or 0 for size in memory.proportional(set(roots)).values()) / 1e6


def cpu_seconds(roots: Iterable[int]) -> float:
    """CPU time that processes and all their living descendants have used, to the hundredth."""
    ticks = 0
    for root in roots:
        for pid in memory.tree(root):
            with suppress(OSError):  # ended meanwhile
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Samples:
    """One measured thing, once a round."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def show(self, form: str) -> str:
        if len(self.values) == 1:
            return format(self.median, form)
        return f"{self.median:{form}} ({min(self.values):{form}} to {max(self.values):{form}})"


@dataclass(frozen=True, slots=True)
class Target:
    """What issue or design ask for. `kind`: ours over theirs at most, theirs over ours at least, or ours at most."""

    kind: str  # "ratio", "faster" or "most"
    value: float

    def limit(self, theirs: float | None) -> float:
        """The most that ours may be."""
        if self.kind == "most":
            return self.value
        if theirs is None:
            raise ValueError("this target needs a peer")
        return self.value * theirs if self.kind == "ratio" else theirs / self.value


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of the table. `beside`: what else ran while it was measured; `panel`: where the plot shows it."""

    title: str
    unit: str
    ours: Samples
    theirs: Samples | None = None
    target: Target | None = None
    beside: str = ""
    panel: str = ""

    @property
    def form(self) -> str:
        return {"s": ".1f", "MB": ",.0f", "ms": ".2f", "CPU s/min": ".2f", "requests/min": ".0f"}[self.unit]

    @property
    def ratio(self) -> float | None:
        return None if self.theirs is None else self.ours.median / self.theirs.median

    @property
    def limit(self) -> float | None:
        """The most that our median may be."""
        return None if self.target is None else self.target.limit(self._peer)

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return "met" if self.ours.median <= self.target.limit(self._peer) else "MISSED"

    @property
    def _peer(self) -> float | None:
        return None if self.theirs is None else self.theirs.median


@dataclass(slots=True)
class Report:
    """Everything of one run, for the table, the plot and the file."""

    title: str
    peer: str
    rounds: int
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def print(self) -> None:
        table = Table(title=self.title, title_justify="left", title_style="bold", header_style="bold")
        table.add_column("")
        for heading in ("Aerodrome", self.peer, "ratio", "target", ""):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("beside it")
        for figure in self.figures:
            table.add_row(*_cells(figure), figure.beside)
        console = Console(width=170, soft_wrap=True)
        console.print(table)
        spread = f"Medians of {self.rounds} rounds (least to most)." if self.rounds > 1 else "One round."
        console.print("\n".join([spread, *self.notes]), markup=False)

    def document(self) -> dict[str, Any]:
        figures = [
            {**asdict(figure), "ratio": figure.ratio, "limit": figure.limit, "verdict": figure.verdict}
            for figure in self.figures
        ]
        return {"title": self.title, "peer": self.peer, "rounds": self.rounds, "figures": figures, "notes": self.notes}


def _cells(figure: Figure) -> tuple[str, ...]:
    theirs = "" if figure.theirs is None else f"{figure.theirs.show(figure.form)} {figure.unit}"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    return (
        figure.title,
        f"{figure.ours.show(figure.form)} {figure.unit}",
        theirs,
        ratio,
        _target(figure),
        figure.verdict,
    )


def _target(figure: Figure) -> str:
    if figure.target is None or figure.limit is None:
        return ""
    limit = f"<= {figure.limit:{figure.form}} {figure.unit}"
    asked = {"most": "", "ratio": f" (x {figure.target.value:g})", "faster": f" (1 / {figure.target.value:g})"}
    return limit + asked[figure.target.kind]

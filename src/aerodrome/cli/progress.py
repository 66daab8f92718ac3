"""Events folded into what a person who waits wants to see: steps, what each waits for, and times."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from aerodrome.cli.events import Event

_DETAIL_LINES = 20


@dataclass(slots=True)
class Line:
    """One step. `since` is in seconds since 1970, `seconds` its time once it has ended."""

    title: str
    since: float
    note: str = ""
    seconds: float | None = None
    failed: bool = False


@dataclass(slots=True)
class Progress:
    """The state that the events so far add up to."""

    name: str
    status: str = ""
    began: float | None = None
    lines: dict[str, Line] = field(default_factory=dict)
    error: str = ""
    detail: str = ""
    last_id: int = 0

    def apply(self, events: Iterable[Event]) -> None:
        for event in events:
            self.last_id = max(self.last_id, event.id)
            self.began = event.at if self.began is None else self.began
            self._fold(event)

    def _fold(self, event: Event) -> None:
        step = str(event.data.get("step") or event.data.get("component") or "")
        match event.type:
            case "create.requested" | "update.requested" | "delete.requested":
                self.began, self.error, self.detail = event.at, "", ""
                self.lines.clear()
            case "step.started":
                self._line(step, event)
            case "step.waiting" | "unhealthy":
                line = self._line(step, event)
                line.note, line.seconds = event.message, None
            case "step.finished" | "component.healthy":
                line = self._line(step or event.message, event)
                line.title = event.message or line.title
                line.note, line.seconds = "", float(event.data.get("seconds") or 0.0)
            case "status.changed":
                self.status = str(event.data.get("to") or event.message)
            case "error":
                self.error, self.detail = event.message, str(event.data.get("detail") or "")
                for line in self.lines.values():
                    line.failed = line.seconds is None
            case _:
                pass

    def _line(self, step: str, event: Event) -> Line:
        return self.lines.setdefault(step, Line(step.replace("_", " ").capitalize() or event.message, event.at))

    def elapsed(self, now: float) -> float:
        return max(0.0, now - self.began) if self.began is not None else 0.0

    def render(self, now: float) -> RenderableType:
        """The state as a table; `now` in seconds since 1970."""
        heading = Text.assemble((self.name, "bold"), "  ", self.status, f"  {self.elapsed(now):.1f} s")
        table = Table.grid(padding=(0, 1))
        for line in self.lines.values():
            table.add_row(*_row(line, now))
        return Group(heading, table)


def _row(line: Line, now: float) -> tuple[RenderableType, RenderableType, RenderableType]:
    if line.seconds is not None:
        return Text("  ✓", "green"), Text(line.title), Text(f"{line.seconds:6.1f} s", "dim")
    waited = Text(f"{max(0.0, now - line.since):6.1f} s", "dim")
    text = Text(line.note or line.title, overflow="ellipsis", no_wrap=True)
    if line.failed:
        return Text("  ✗", "red"), text, waited
    return Spinner("dots", " "), text, waited


def describe_event(event: Event, began: float) -> str:
    """One event as one line, its time in seconds since `began`."""
    text = event.message
    if event.type == "step.finished" and "seconds" in event.data:
        text = f"{text} ({float(event.data['seconds']):.1f} s)"
    if phases := event.data.get("phases"):
        text = f"{text} ({', '.join(f'{phase} {float(took):.1f} s' for phase, took in phases.items())})"
    if event.type == "status.changed":
        text = f"{event.data.get('from') or '(new)'} -> {event.data.get('to')}"
    if event.actor:
        text = f"{text} by {event.actor}"
    return f"{event.at - began:7.1f} s  {event.type:<16} {text}"


def describe_failure(progress: Progress, message: str = "") -> str:
    """Why it failed, with the last lines of the log that goes with it."""
    lines = progress.detail.rstrip().splitlines()[-_DETAIL_LINES:]
    return "\n".join([message or progress.error or "It failed; the service gave no reason.", *lines])


class Times:
    """How long the phases of a command took, for the table at its end."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._last = self._start
        self.phases: list[tuple[str, float]] = []

    def phase(self, title: str) -> float:
        """End the phase that began when the last one ended; its seconds."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        self.phases.append((title, seconds))
        return seconds

    def print(self, console: Console, parts: Iterable[tuple[str, str, float]] = ()) -> None:
        """The table; `parts` are (phase, title, seconds) shown below their phase."""
        table = Table(title="Times", title_justify="left", show_header=False, box=None, padding=(0, 2))
        for title, seconds in self.phases:
            table.add_row(escape(title), f"{seconds:6.1f} s")
            for phase, part, took in parts:
                if phase == title:
                    table.add_row(f"  [dim]{escape(part)}[/]", f"[dim]{took:6.1f} s[/]")
        table.add_row("[bold]Total[/]", f"[bold]{time.monotonic() - self._start:6.1f} s[/]")
        console.print(table)

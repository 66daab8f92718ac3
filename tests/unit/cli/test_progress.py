"""Events folded into what a person sees."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from aerodrome.cli.events import Event
from aerodrome.cli.progress import Progress, Times, describe_event, describe_failure


def event(number: int, type_: str, message: str = "", **data: object) -> Event:
    return Event(number, 1000.0 + number, type_, message, None, data)


CREATE = [
    event(1, "create.requested", "CreateEnvironment", to="CREATING"),
    event(2, "step.waiting", "Installing Airflow: 12 of 209", step="ensure_runtime"),
    event(3, "step.finished", "DAGs synchronised", step="sync_content", seconds=0.4),
    event(5, "step.finished", "Airflow installed", step="ensure_runtime", seconds=3.2),
    event(6, "step.started", step="check_health"),
]


def shown(progress: Progress, now: float) -> str:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(progress.render(now))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_waiting_step_shows_what_it_waits_for_and_how_long() -> None:
    progress = Progress("demo")
    progress.apply(CREATE[:2])
    text = shown(progress, 1010.0)
    assert "Installing Airflow: 12 of 209" in text
    assert "8.0 s" in text  # since the event
    assert "9.0 s" in text  # since the request
    assert "✓" not in text


def test_a_finished_step_shows_its_title_and_seconds() -> None:
    progress = Progress("demo")
    progress.apply(CREATE)
    rows = shown(progress, 1010.0).splitlines()
    assert [row.split("  ")[0] for row in rows[:1]] == ["demo"]
    assert any("✓" in row and "Airflow installed" in row and "3.2 s" in row for row in rows)
    assert any("✓" not in row and "Check health" in row for row in rows)
    assert progress.last_id == 6


def test_events_may_come_in_any_portions() -> None:
    whole, parts = Progress("demo"), Progress("demo")
    whole.apply(CREATE)
    for one in CREATE:
        parts.apply([one])
    assert whole == parts


def test_a_step_that_was_done_can_wait_again() -> None:
    progress = Progress("demo")
    progress.apply([*CREATE, event(7, "unhealthy", "scheduler is gone", step="sync_content")])
    assert progress.lines["sync_content"].seconds is None
    assert "scheduler is gone" in shown(progress, 1010.0)


def test_an_error_marks_what_had_not_ended_and_tells_the_last_lines() -> None:
    progress = Progress("demo")
    log = "\n".join(f"line {number}" for number in range(50))
    progress.apply([*CREATE, event(7, "error", "scheduler-1 keeps ending by itself.", detail=log)])
    assert progress.lines["check_health"].failed
    assert not progress.lines["ensure_runtime"].failed
    assert "✗" in shown(progress, 1010.0)
    told = describe_failure(progress)
    assert told.startswith("scheduler-1 keeps ending by itself.")
    assert told.endswith("line 49")
    assert "line 29" not in told


def test_a_second_create_starts_afresh() -> None:
    progress = Progress("demo")
    progress.apply([*CREATE, event(7, "error", "no"), event(8, "create.requested", "CreateEnvironment")])
    assert (progress.error, progress.lines, progress.began) == ("", {}, 1008.0)


def test_markup_in_a_message_is_text() -> None:
    progress = Progress("demo")
    progress.apply([CREATE[0], event(2, "step.waiting", "[red]x[/] [1/9]", step="a")])
    assert "[red]x[/] [1/9]" in shown(progress, 1010.0)


def test_unknown_events_change_nothing_but_the_place_in_the_journal() -> None:
    progress = Progress("demo")
    progress.apply([*CREATE, event(9, "something.new", "hello", step="x")])
    assert "x" not in progress.lines
    assert progress.last_id == 9


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (event(3, "step.finished", "DAGs synchronised", step="s", seconds=0.44), "DAGs synchronised (0.4 s)"),
        (
            event(3, "object.made", "plugins.zip: 2 files", step="s", phases={"fetch": 0.31, "unpack": 1.0}),
            "plugins.zip: 2 files (fetch 0.3 s, unpack 1.0 s)",
        ),
        (
            Event(3, 1003.0, "status.changed", "AVAILABLE", None, {"from": "CREATING", "to": "AVAILABLE"}),
            "CREATING -> AVAILABLE",
        ),
        (Event(3, 1003.0, "create.requested", "CreateEnvironment", "arn:x"), "CreateEnvironment by arn:x"),
    ],
)
def test_an_event_is_one_line(given: Event, text: str) -> None:
    line = describe_event(given, 1000.0)
    assert line.endswith(text)
    assert line.startswith("    3.0 s")


def test_the_times_table_names_every_phase() -> None:
    times = Times()
    times.phase("Machine room")
    times.phase("Environment")
    console = Console(file=io.StringIO(), width=100, color_system=None)
    times.print(console, [("Environment", "Airflow installed", 3.2)])
    assert isinstance(console.file, io.StringIO)
    lines = [line.strip() for line in console.file.getvalue().splitlines()]
    assert [line.split("  ")[0] for line in lines] == [
        "Times",
        "Machine room",
        "Environment",
        "Airflow installed",
        "Total",
    ]

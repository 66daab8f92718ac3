"""Waiting for a create, an update or a delete, with what happens meanwhile shown as it happens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import httpx
from botocore.exceptions import ClientError
from botocore.exceptions import ConnectionError as BotoConnectionError
from rich.console import Console
from rich.live import Live

from aerodrome.cli.connection import Connection, error_code
from aerodrome.cli.events import Event, Journal
from aerodrome.cli.progress import Progress, describe_event, describe_failure
from aerodrome.errors import Permanent, Temporary

_PAUSE = 0.5  # seconds between two looks
_AWAY = 30.0  # seconds for which the endpoint may be away, while it restarts, say
_UNDER_WAY = frozenset({"CREATING", "UPDATING", "DELETING", "CREATING_SNAPSHOT", "ROLLING_BACK", "PENDING"})


def get_environment(mwaa: Any, name: str) -> Mapping[str, Any] | None:
    """GetEnvironment's answer, or None when there is no such environment."""
    try:
        environment: Mapping[str, Any] = mwaa.get_environment(Name=name)["Environment"]
    except ClientError as error:
        if error_code(error) == "ResourceNotFoundException":
            return None
        raise
    return environment


def watch(connection: Connection, name: str, console: Console, *, deletion: bool = False) -> Progress:
    """Show the environment's events until it is AVAILABLE (or gone, for a deletion).

    Raises:
        Permanent: it failed, or is gone although it should not be; with the last log lines.
    """
    view = _View(console, Progress(name))
    with Journal(connection, name) as journal, closing(connection.client("mwaa")) as mwaa, view:
        environment = _until_settled(journal, mwaa, view)
    _judge(view.progress, environment, deletion=deletion)
    return view.progress


def _until_settled(journal: Journal, mwaa: Any, view: _View) -> Mapping[str, Any] | None:
    """The environment once nothing is under way; the endpoint may be away for a moment meanwhile."""
    last: int | None = None
    deadline = time.monotonic() + _AWAY
    while True:
        try:
            last = journal.before_current() if last is None else last
            environment = get_environment(mwaa, view.progress.name)
            events = journal.after(last)  # after the status, so that the event that goes with it is among them
            deadline = time.monotonic() + _AWAY
        except (Temporary, BotoConnectionError, httpx.TransportError):
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
            continue
        view.show(events)
        last = events[-1].id if events else last
        view.progress.status = str(environment["Status"]) if environment else "DELETED"
        if view.progress.status not in _UNDER_WAY:
            return environment
        time.sleep(_PAUSE)


def _judge(progress: Progress, environment: Mapping[str, Any] | None, *, deletion: bool) -> None:
    if environment is None:
        if not deletion:
            raise Permanent(f"Environment {progress.name} was deleted meanwhile.")
        return
    status = environment["Status"]
    if status == "AVAILABLE" and not deletion:
        return
    reason = environment.get("LastUpdate", {}).get("Error", {}).get("ErrorMessage", "")
    advice = f"Remove it with `aerodrome env delete {progress.name}`, mend the cause and create it again."
    if status == "UPDATE_FAILED":
        advice = "It runs as before the update. Mend the cause and update it again."
    raise Permanent(f"Environment {progress.name} is {status}. {describe_failure(progress, reason)}\n{advice}")


class _View:
    """A live table on a terminal, one line per event elsewhere."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self.progress = progress
        self._console = console
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(
                console=console, refresh_per_second=8, get_renderable=lambda: progress.render(time.time())
            )

    def __enter__(self) -> None:
        if self._live:
            self._live.__enter__()

    def __exit__(self, *failure: Any) -> None:
        if self._live:
            self._live.__exit__(*failure)

    def show(self, events: list[Event]) -> None:
        self.progress.apply(events)
        if not self._live:
            for event in events:
                line = describe_event(event, self.progress.began or event.at)
                self._console.print(line, markup=False, soft_wrap=True)


def follow(connection: Connection, name: str, console: Console, *, forever: bool) -> int:
    """Print the environment's events, new ones too as they come when `forever`; returns how many there were."""
    last, began, count = 0, None, 0
    with Journal(connection, name) as journal:
        while True:
            for event in journal.after(last):
                if began is None or event.type == "create.requested":
                    began = event.at
                    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(began))
                    console.print(f"{stamp}  {name}", style="bold", markup=False)
                console.print(describe_event(event, began), markup=False, soft_wrap=True)
                last, count = event.id, count + 1
            if not forever:
                return count
            time.sleep(_PAUSE)

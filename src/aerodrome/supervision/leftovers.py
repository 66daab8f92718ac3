"""Processes that outlived their supervisord: a new one can't adopt them, so they are found by what was written down."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from aerodrome.layout import Layout
from aerodrome.supervision import daemon, processes
from aerodrome.supervision.files import Files
from aerodrome.supervision.launch import find, marker
from aerodrome.supervision.program import LONG

_PATIENCE = 60.0  # seconds for the others


@dataclass(frozen=True, slots=True)
class Leftover:
    """A recorded process that lives though no supervisord owns it."""

    name: str  # of the program; "NAME~PID" once a new process of that program was started beside it
    pid: int
    draining: bool  # finishing its work since supervisord's death asked it to stop; left alone unless forced
    stop_signal: str
    stop_wait: float  # seconds


def program_of(name: str) -> str:
    """The program that a record's name speaks of."""
    return name.partition("~")[0]


def records(files: Files) -> dict[str, processes.Record]:
    """Everything that was ever started and not discarded, by record name."""
    if not files.records.is_dir():
        return {}
    found = {path.name: processes.read_record(path) for path in files.records.iterdir() if path.name[0] != "."}
    return {name: record for name, record in sorted(found.items()) if record is not None}


def leftovers(layout: Layout) -> list[Leftover]:
    """All leftovers, by name. Blocking, but takes milliseconds."""
    files = Files.of(layout)
    owner = daemon.owner(files)
    found = []
    for name, record in records(files).items():
        process = record.find()
        if process is None or (owner is not None and process.parent == owner):
            continue
        meta = files.read_meta(program_of(name))
        found.append(
            Leftover(
                name=name,
                pid=process.pid,
                draining="~" in name or meta is None or meta.stop_wait > LONG,
                stop_signal=meta.stop_signal if meta else "TERM",
                stop_wait=meta.stop_wait if meta else LONG,
            )
        )
    return found


def read_on(layout: Layout) -> None:
    """From here on, what leftovers that drain say is carried to their logs: a pipe that nobody empties would stop them.

    To be called once per crash of supervisord. Blocking, milliseconds.
    """
    for leftover in leftovers(layout):
        log = daemon.log_of(Files.of(layout).ini(program_of(leftover.name)))
        if leftover.draining and log is not None:
            _carry(leftover.pid, log)


def _carry(pid: int, log: Path) -> None:
    with log.open("ab") as file:
        subprocess.run(
            [find("setsid"), "--fork", find("cat"), f"/proc/{pid}/fd/1"],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
        )


async def end_leftovers(layout: Layout, *, force: bool = False) -> list[Leftover]:
    """End them: the stop signal, then SIGKILL to the whole tree once the stop wait (at most a minute) is over.

    Those that drain are left alone unless `force` is set. Returns those that are left.

    Raises:
        Temporary: one doesn't end although it was killed.
    """
    return await asyncio.to_thread(_end, layout, force)


def _end(layout: Layout, force: bool) -> list[Leftover]:
    files = Files.of(layout)
    known = records(files)
    ending = [leftover for leftover in leftovers(layout) if force or not leftover.draining]
    for leftover in ending:
        if not leftover.draining:
            process = known[leftover.name].process
            processes.signal_process(process, signal.Signals[f"SIG{leftover.stop_signal}"])
    started = time.monotonic()
    for leftover in ending:
        record = known[leftover.name]
        patience = 0.0 if leftover.draining else min(leftover.stop_wait, _PATIENCE)
        while record.find() is not None and time.monotonic() < started + patience:
            time.sleep(0.05)
        if record.find() is not None:
            alone = "~" in leftover.name
            processes.kill_tree([record], None if alone else marker(files, leftover.name))
    return leftovers(layout)

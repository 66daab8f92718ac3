"""Processes as /proc shows them: who lives, who belongs to whom, and ending whole trees."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aerodrome.errors import Temporary
from aerodrome.supervision.launch import MARKER

_PROC = Path("/proc")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/PID/stat (proc(5)). `start` is in clock ticks since boot: with the pid it names a process."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    start: int

    @classmethod
    def parse(cls, line: str) -> Process:
        """Raises ValueError or IndexError when it isn't such a line."""
        rest = line[line.rindex(")") + 2 :].split()  # the name in brackets may hold anything
        return cls(
            pid=int(line[: line.index(" ")]),
            state=rest[0],
            parent=int(rest[1]),
            group=int(rest[2]),
            session=int(rest[3]),
            start=int(rest[19]),
        )

    @property
    def lives(self) -> bool:
        return self.state not in ("Z", "X")


@dataclass(frozen=True, slots=True)
class Record:
    """A process that was started, as its launch script wrote it down."""

    process: Process
    boot: str

    def find(self) -> Process | None:
        """That very process, if it lives."""
        now = look(self.process.pid)
        same = now is not None and now.lives and now.start == self.process.start and self.boot == boot_id()
        return now if same else None


def look(pid: int) -> Process | None:
    try:
        return Process.parse((_PROC / str(pid) / "stat").read_text(errors="replace"))
    except (FileNotFoundError, ProcessLookupError, ValueError, IndexError):
        return None


def everybody() -> list[Process]:
    found = (look(int(entry)) for entry in os.listdir(_PROC) if entry.isdigit())
    return [process for process in found if process is not None and process.lives]


def boot_id() -> str:
    return _BOOT_ID.read_text().strip()


def read_record(path: Path) -> Record | None:
    try:
        line, boot = path.read_text(errors="replace").splitlines()
        return Record(Process.parse(line), boot.strip())
    except (FileNotFoundError, NotADirectoryError, ValueError, IndexError):
        return None


def members(roots: Iterable[Record], mark: str | None = None) -> list[Process]:
    """All that the recorded processes started and that lives: children of children, whatever shares a process group or
    session with one of them (parents may be dead), and whatever inherited the mark in its environment."""
    present = everybody()
    boot = boot_id()
    seeds = {root.process.pid: root.process.start for root in roots if root.boot == boot}
    for process in present:
        if process.pid in seeds and seeds[process.pid] != process.start:
            del seeds[process.pid]  # the pid was given to somebody else
    found: dict[int, Process] = {}
    ids = set(seeds)
    spared = {1, os.getpid()}
    grown = True
    while grown:
        grown = False
        for process in present:
            if process.pid in found or process.pid in spared:
                continue
            if ids & {process.pid, process.parent, process.group, process.session} or (mark and _marked(process, mark)):
                found[process.pid] = process
                ids.add(process.pid)
                grown = True
    return list(found.values())


def _marked(process: Process, mark: str) -> bool:
    try:
        environment = (_PROC / str(process.pid) / "environ").read_bytes()
    except OSError:
        return False
    return f"{MARKER}={mark}".encode() in environment.split(b"\0")


def signal_process(process: Process, number: int) -> None:
    """Signal that very process, not whoever got its pid afterwards."""
    now = look(process.pid)
    if now is not None and now.start == process.start:
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            return


def kill_tree(roots: Iterable[Record], mark: str | None = None, *, patience: float = 10) -> None:
    """SIGKILL to all of `members`, until none is left. They are stopped first, so that none slips away by forking.

    Raises:
        Temporary: some still live after `patience` seconds (they hang in the kernel).
    """
    roots = list(roots)
    deadline = time.monotonic() + patience
    while True:
        frozen: set[int] = set()
        while fresh := [process for process in members(roots, mark) if process.pid not in frozen]:
            for process in fresh:
                signal_process(process, signal.SIGSTOP)
                frozen.add(process.pid)
            if time.monotonic() > deadline:
                break
        left = members(roots, mark)
        if not left:
            return
        if time.monotonic() > deadline:
            raise Temporary(f"Process {left[0].pid} doesn't end although it was killed.", 5)
        for process in left:
            signal_process(process, signal.SIGKILL)
        time.sleep(0.02)

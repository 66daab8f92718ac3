"""Which process of a component somebody is, and whether that process still lives."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One process of a component. `machine` names the boot and the process namespace that its pid counts in.

    Numbers of namespaces are given out again at once, so it also says when the namespace's first process was started.
    """

    component: str
    machine: str
    pid: int
    start: int  # clock ticks since boot: with the pid it names a process

    @classmethod
    def ours(cls, component: str) -> Incarnation:
        return cls(component, _machine(), os.getpid(), _start(os.getpid()) or 0)

    @classmethod
    def parse(cls, text: str) -> Incarnation:
        """Raises ValueError: it isn't one."""
        component, machine, pid, start = text.split("|")
        return cls(component, machine, int(pid), int(start))

    def __str__(self) -> str:
        return f"{self.component}|{self.machine}|{self.pid}|{self.start}"

    def is_dead(self, seen_by: Incarnation) -> bool:
        """Only what is certain: who is on another machine isn't seen, but our own component runs only here."""
        if self.machine == seen_by.machine:
            return _start(self.pid) != self.start
        return self.component == seen_by.component


def is_ours_and_alive(pid: int) -> bool:
    """Whether a process of that number lives and is the same user's."""
    try:
        owner = (_PROC / str(pid)).stat().st_uid
    except OSError:
        return False
    return owner == os.geteuid() and _start(pid) is not None


def _machine() -> str:
    boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.stat(_PROC / 'self/ns/pid').st_ino}/{_start(1) or 0}"


def _start(pid: int) -> int | None:
    try:
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])

"""Which process of a component somebody is, and whether that process still lives.

Within a process namespace the kernel says so. In the sandbox each worker has a namespace of its own; there each locks
one byte of a file that all workers of the environment see, for as long as it lives. Such a lock (fcntl) belongs to the
process that took it and not to what that starts, and goes with it however it ends.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

_PROC = Path("/proc")
_LOCKS = ".workers.lock"  # in AIRFLOW_HOME, which is the environment's wherever it is shown


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One process of a component. `machine` names the boot and the process namespace that its pid counts in.

    Numbers of namespaces are given out again at once, so it also says when the namespace's first process was started.
    """

    component: str
    machine: str
    pid: int
    start: int  # clock ticks since boot: with the pid it names a process
    locks: str = ""  # the file in which it holds its byte: boot, device and inode; "" for none

    @classmethod
    def ours(cls, component: str) -> Incarnation:
        """This process, which from now on holds its byte."""
        found = cls(component, _machine(), os.getpid(), _start(os.getpid()) or 0, _locks())
        return found if found._try(fcntl.LOCK_EX) else cls(component, found.machine, found.pid, found.start)

    @classmethod
    def parse(cls, text: str) -> Incarnation:
        """Raises ValueError: it isn't one."""
        component, place, pid, start = text.split("|")
        machine, _, locks = place.partition("~")
        return cls(component, machine, int(pid), int(start), locks)

    def __str__(self) -> str:
        return f"{self.component}|{self.machine}~{self.locks}|{self.pid}|{self.start}"

    def is_dead(self, seen_by: Incarnation) -> bool:
        """Only what is certain: who is on another machine isn't seen, but our own component runs only here."""
        if self.machine == seen_by.machine:
            return _start(self.pid) != self.start
        if self.locks and self.locks == seen_by.locks:
            return self._try(fcntl.LOCK_SH)
        return self.component == seen_by.component

    def _try(self, kind: int) -> bool:
        """Lock its byte, and give it back if it isn't ours to hold (shared: two may look at once)."""
        file, byte = _file(), int.from_bytes(sha256(str(self).encode()).digest()[:7], "big")
        if file is None:
            return False
        try:
            fcntl.lockf(file, kind | fcntl.LOCK_NB, 1, byte)
            if kind == fcntl.LOCK_SH:
                fcntl.lockf(file, fcntl.LOCK_UN, 1, byte)
        except OSError:
            return False
        return True


def is_ours_and_alive(pid: int) -> bool:
    """Whether a process of that number lives and is the same user's."""
    try:
        owner = (_PROC / str(pid)).stat().st_uid
    except OSError:
        return False
    return owner == os.geteuid() and _start(pid) is not None


def _boot() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


@cache
def _file() -> int | None:
    """Opened once and never closed: closing any descriptor of it would give up all that this process holds in it."""
    home = os.environ.get("AIRFLOW_HOME")
    try:
        return os.open(Path(home, _LOCKS), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600) if home else None
    except OSError:
        return None


def _locks() -> str:
    file = _file()
    if file is None:
        return ""
    found = os.fstat(file)
    return f"{_boot()}/{found.st_dev}/{found.st_ino}"


def _machine() -> str:
    return f"{_boot()}/{os.stat(_PROC / 'self/ns/pid').st_ino}/{_start(1) or 0}"


def _start(pid: int) -> int | None:
    try:
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])

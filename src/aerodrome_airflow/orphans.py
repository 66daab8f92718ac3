"""Processes of a worker must not outlive it where nobody would hear of their work.

In Airflow 3 the process that runs a task reports through its parent, a child of the worker. Without that parent it
works on unheard, while Airflow starts the task anew after a while: the same work twice, at the same time. So it ends
with its parent, at once. In Airflow 2 a task's process keeps its own record in the database: it works on to its end.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
MARKER = "AERODROME_PROGRAM"  # that every process of a component inherits (supervision/launch.py)
_PROC = Path("/proc")

_depth = 0  # forks between the worker's main process and this one


def tasks_need_their_worker() -> bool:
    """Whether a task's process is lost without its worker: from Airflow 3 on."""
    return importlib.util.find_spec("airflow.sdk") is not None


def bind_children() -> None:
    """From here on, what this process forks ends when this process does, however that ends.

    Also its children's children where a task needs its worker: those run tasks. What a task starts is its own affair.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    levels = 2 if tasks_need_their_worker() else 1
    parents = {0: os.getpid()}

    def bind() -> None:
        global _depth
        _depth += 1
        if _depth > levels:
            return
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parents[_depth - 1]:  # it died before that
            os._exit(1)
        parents[_depth] = os.getpid()

    os.register_at_fork(after_in_child=bind)


def end_strays() -> list[int]:
    """Kill what tasks of this component's dead processes left running (a script's own children, say); their pids.

    To be called before the component starts anything, and while no other process of its name works.
    """
    mark = os.environ.get(MARKER)
    if not mark:
        return []
    wanted = f"{MARKER}={mark}".encode()
    ended = []
    ours = family()
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) not in ours and _has(entry, wanted):
            try:
                os.kill(int(entry.name), signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
            ended.append(int(entry.name))
    return ended


def _has(entry: Path, wanted: bytes) -> bool:
    try:
        return wanted in (entry / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def family() -> set[int]:
    """This process, and all that descend from it."""
    parents = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    return found

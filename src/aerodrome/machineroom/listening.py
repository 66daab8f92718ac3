"""Who listens on a port, as far as the kernel tells us."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aerodrome.machineroom.memory import tree

_LOCAL_PORT_COLUMN, _STATE_COLUMN, _INODE_COLUMN = 1, 3, 9  # of /proc/net/tcp
_LISTENING = "0A"
_PROC = Path("/proc")


def holder(port: int) -> str | None:
    """The process that listens on the port, as "process 123 (name)", when we may see it."""
    every = (int(folder.name) for folder in _PROC.glob("[0-9]*"))
    pid = _first_with(_sockets(port), every)
    if pid is None:
        return None
    try:
        return f"process {pid} ({(_PROC / str(pid) / 'comm').read_text().strip()})"
    except OSError:
        return None  # it just ended


def listens(pid: int, port: int) -> bool:
    """Whether the process, or one that it started, listens on the port."""
    return _first_with(_sockets(port), tree(pid)) is not None


def _sockets(port: int) -> set[str]:
    return {inode for table in ("tcp", "tcp6") for inode in _listening(_PROC / "net" / table, port)}


def _first_with(sockets: set[str], pids: Iterable[int]) -> int | None:
    for pid in pids if sockets else ():
        try:
            if any(str(link.readlink()) in sockets for link in (_PROC / str(pid) / "fd").iterdir()):
                return pid
        except OSError:
            continue  # another user's process, or one that just ended
    return None


def _listening(table: Path, port: int) -> list[str]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    suffix = f":{port:04X}"
    return [
        f"socket:[{row[_INODE_COLUMN]}]"
        for row in rows
        if row[_LOCAL_PORT_COLUMN].endswith(suffix) and row[_STATE_COLUMN] == _LISTENING
    ]

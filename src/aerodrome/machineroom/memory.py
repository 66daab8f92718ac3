"""How much memory programs take, each with everything it started."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

_PROC = Path("/proc")


def proportional(roots: Iterable[int]) -> dict[int, int | None]:
    """Bytes (PSS: shared pages are split among who shares them) of each process with its descendants. Blocking.

    None where the kernel doesn't tell us.
    """
    children = _children()
    return {root: _sum(_tree(root, children)) for root in roots}


def of_children(root: int, titles: re.Pattern[str]) -> dict[str, tuple[int, int]]:
    """Children whose titles match, by the pattern's group: how many they are, and the bytes (PSS) they take.

    Blocking.
    """
    found: dict[str, tuple[int, int]] = {}
    for pid in _children().get(root, ()):
        try:
            title = (_PROC / str(pid) / "cmdline").read_text(errors="replace")
        except OSError:  # ended meanwhile
            continue
        if match := titles.match(title):
            count, size = found.get(match[1], (0, 0))
            found[match[1]] = count + 1, size + (_pss(pid) or 0)
    return found


def _children() -> Mapping[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for folder in _PROC.glob("[0-9]*"):
        try:
            # "pid (name) state ppid ...": the name may hold spaces and brackets.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[int(fields[1])].append(int(folder.name))
    return found


def tree(root: int) -> list[int]:
    """The process and everything it started that hasn't left it. Blocking."""
    return _tree(root, _children())


def _tree(root: int, children: Mapping[int, list[int]]) -> list[int]:
    every = [root]
    for pid in every:
        every.extend(children.get(pid, ()))
    return every


def _sum(pids: Iterable[int]) -> int | None:
    sizes = [size for size in map(_pss, pids) if size is not None]
    return sum(sizes) if sizes else None


def _pss(pid: int) -> int | None:
    try:
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None

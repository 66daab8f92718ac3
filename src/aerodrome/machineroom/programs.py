"""Private copies of the server programs that came as wheels.

An upgrade of Aerodrome replaces the wheels while the servers run, and the folder of the project may be closed to the
system users: both are why a server never runs from where pip put it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from aerodrome.files import sync_directory
from aerodrome.layout import Layout


def install(layout: Layout, name: str, parts: Mapping[str, Path]) -> Path:
    """`machine/<name>` holding copies of files and folders, by relative path, for all to read and execute. Blocking.

    The folder appears under its name only when it is whole and on disk; it is never changed afterwards.

    Raises:
        OSError: the disk is full.
    """
    target = layout.machine / name
    if target.exists():
        return target
    aside = layout.machine / f".{name}.{secrets.token_hex(4)}"
    aside.mkdir(mode=0o755)
    try:
        for relative, part in parts.items():
            copy = aside / relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            if part.is_dir():
                shutil.copytree(part, copy, symlinks=True)
            else:
                shutil.copy2(part, copy)
        _open_to_all(aside)
        os.sync()  # a thousand small files: one sync of the machine is faster than an fsync of each
        aside.rename(target)
    except FileExistsError:
        shutil.rmtree(aside)  # somebody else was first
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        if not target.exists():
            raise
    sync_directory(layout.machine)
    return target


def sweep(layout: Layout) -> None:
    """Remove what an interrupted `install` left. Only while nothing else installs."""
    for folder in layout.machine.glob(".*-*.????????"):
        shutil.rmtree(folder, ignore_errors=True)


def _open_to_all(top: Path) -> None:
    for folder, _, names in os.walk(top):
        Path(folder).chmod(0o755)
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)

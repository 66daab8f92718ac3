"""The directories of an environment, and who may enter them.

`ID/` is ours; its group is the environment's, so that its user passes through and no other environment's does. What the
user writes to (`airflow`, `logs`, `tmp`) is its own; `content` and `options` are written by us and read by it;
`components` is ours.
Ownership is only ever changed right below `ID/`, where the user can't put a symbolic link in our way.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from aerodrome.backends.users import User
from aerodrome.errors import Temporary
from aerodrome.files import ensure_directory
from aerodrome.layout import Layout


def temporary(layout: Layout, environment_id: str) -> Path:
    """Its own, since /tmp is everybody's."""
    return layout.environment(environment_id) / "tmp"


def prepare_root(layout: Layout) -> None:
    """The directory of all environments: everybody may pass through, nobody may list it."""
    if not layout.environments.is_dir():
        layout.environments.mkdir(mode=0o711, parents=True, exist_ok=True)
    ensure_directory(layout.environments, 0o711)


def prepare_logs(layout: Layout, environment_id: str) -> None:
    """What a scope without a user needs: a place for logs."""
    prepare_root(layout)
    layout.environment(environment_id).mkdir(mode=0o700, exist_ok=True)
    ensure_directory(layout.component_logs(environment_id), 0o700)


def prepare(layout: Layout, environment_id: str, user: User) -> None:
    """Make all directories of the environment, and mend modes and owners. Idempotent."""
    prepare_root(layout)
    root = layout.environment(environment_id)
    if user.uid is None or user.gid is None:
        ensure_directory(root, 0o700)
        ensure_directory(layout.options(environment_id), 0o700)
        own = None
    else:
        ensure_directory(root, 0o750, (0, user.gid))
        ensure_directory(layout.options(environment_id), 0o750, (0, user.gid))
        own = (user.uid, user.gid)
    layout.content(environment_id).mkdir(mode=0o755, exist_ok=True)
    ensure_directory(layout.component_logs(environment_id), 0o700)
    for path in (layout.airflow_home(environment_id), layout.logs(environment_id), temporary(layout, environment_id)):
        ensure_directory(path, 0o700, own)


def remove(layout: Layout, environment_id: str) -> None:
    """Remove all of it; absent is success.

    Raises:
        Temporary: something can't be removed, or is being written anew.
    """
    root = layout.environment(environment_id)
    if root == layout.environments or root.parent != layout.environments:
        raise ValueError(f"{environment_id!r} is no environment id")
    # Not shutil.rmtree: it recurses, and a task can make more directories in each other than Python has stack for.
    command = ["rm", "-rf", "--one-file-system", "--", str(root)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Temporary(f"{root} can't be removed: {done.stderr.strip()[-300:]}", 5)

"""The directory that holds the installation: fit for use, and with the modes that keep its parts apart."""

from __future__ import annotations

import os
import platform
import pwd
import secrets
import shutil
import sys
from pathlib import Path

import uv

from aerodrome.errors import Permanent
from aerodrome.files import ensure_directory, write_file
from aerodrome.layout import Layout
from aerodrome.machineroom.pythons import enterable_by_others

_OLDEST_PYTHON = (3, 11)
# sun_path holds 108 bytes with the final zero; Supervisor binds "<socket>.<pid>" first and renames it.
_LONGEST_SOCKET = 107 - len(".42949672")
_PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"
_MASTER_KEY_BYTES = 32


def check_machine() -> None:
    """Refuse a machine that we can't run on, before anything is touched.

    Raises:
        Permanent: says what is missing and how to get it.
    """
    if sys.version_info[:2] < _OLDEST_PYTHON:
        raise Permanent(f"Aerodrome needs Python 3.11 to 3.14; this is {platform.python_version()}.")
    if platform.system() != "Linux":
        raise Permanent(
            f"Aerodrome runs on Linux; this is {platform.system()}. Run it in a Linux container or machine."
        )
    if shutil.which("setpriv", path=_PROGRAMS) is None:
        raise Permanent("The program setpriv was not found; it is part of util-linux (apt install util-linux).")


def check_home(layout: Layout) -> None:
    """Refuse a home that can't hold an installation.

    Raises:
        Permanent: it is another user's, can't be written, can't be entered by system users, or its path is too long.
    """
    home = layout.home
    longest = max((layout.supervisor_socket, layout.cloud_socket), key=lambda path: len(os.fsencode(path)))
    surplus = len(os.fsencode(longest)) - _LONGEST_SOCKET
    if surplus > 0:
        raise Permanent(f"The path {home} is {surplus} bytes too long for sockets below it; set AERODROME_HOME.")
    if home.exists() and not home.is_dir():
        raise Permanent(f"{home} is not a directory; set AERODROME_HOME to another place.")
    there = next(path for path in (home, *home.parents) if path.exists())
    if there == home and home.stat().st_uid != os.geteuid():
        raise Permanent(
            f"{home} belongs to {_user(home.stat().st_uid)}, and you are {_user(os.geteuid())}. "
            "Run this command as its owner, or set AERODROME_HOME to another place."
        )
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        raise Permanent(
            f"{there} is on a file system that is mounted read-only. Mount it writable, then run this again."
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise Permanent(f"{there} can't be written by {_user(os.geteuid())}; set AERODROME_HOME to another place.")
    if os.geteuid() == 0 and not enterable_by_others(there.parent if there == home else there):
        raise Permanent(
            f"{home} lies below a directory that other users can't enter, but servers run as system users of their "
            "own. Set AERODROME_HOME to a place such as /var/lib/aerodrome."
        )


def make_home(layout: Layout) -> None:
    """Make the directories that belong to no particular part. Idempotent; repairs modes."""
    root = os.geteuid() == 0
    layout.home.parent.mkdir(parents=True, exist_ok=True)
    ensure_directory(layout.home, 0o711 if root else 0o700)
    for path, mode in (
        (layout.secrets, 0o700),
        (layout.pki, 0o711),
        (layout.run, 0o711),
        (layout.log, 0o700),
        (layout.machine, 0o755),
        (layout.cache, 0o700),
        (layout.runtimes, 0o755),
        (layout.environments, 0o711),
    ):
        ensure_directory(path, mode)
    if not layout.master_key.exists():
        if any(layout.environments.iterdir()):
            raise Permanent(
                f"{layout.master_key} is gone, and the environments' secrets can't be read without it. "
                "Restore it from a backup."
            )
        write_file(layout.master_key, secrets.token_bytes(_MASTER_KEY_BYTES), 0o600)
    elif (size := layout.master_key.stat().st_size) != _MASTER_KEY_BYTES:
        raise Permanent(
            f"{layout.master_key} is damaged: it has {size} bytes, not {_MASTER_KEY_BYTES}, and the environments' "
            "secrets can't be read without it. Restore it from a backup."
        )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def uv_program() -> Path:
    """The `uv` that was installed with us.

    Raises:
        Permanent: it isn't there.
    """
    try:
        return Path(uv.find_uv_bin())
    except FileNotFoundError as error:
        raise Permanent("uv was not found beside Aerodrome; install Aerodrome with its dependencies.") from error

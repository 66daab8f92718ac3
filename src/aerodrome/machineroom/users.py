"""System users of the machine room, named per installation and removed with it. Only root has them."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aerodrome.errors import Permanent

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_ATTEMPTS = 20  # at the lock of the password file, which other tools take for moments
_LOCK_PAUSE = 0.25  # seconds
_NO_SUCH_USER = 6  # exit status of userdel


@dataclass(frozen=True, slots=True)
class Owner:
    """Who runs a program and owns its files. `name` is None when that is ourselves, for want of root."""

    uid: int
    gid: int
    name: str | None = None

    @property
    def ids(self) -> tuple[int, int]:
        return self.uid, self.gid


@dataclass(frozen=True, slots=True)
class Owners:
    postgres: Owner
    valkey: Owner
    cloud: Owner


def names(installation_id: str) -> tuple[str, str, str]:
    """The users of PostgreSQL, Valkey and the embedded cloud."""
    prefix = f"aero{installation_id}"
    return f"{prefix}-pg", f"{prefix}-kv", f"{prefix}-cloud"


def exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def ensure_owners(installation_id: str) -> Owners:
    """Make the users that are missing and look up their numbers; without root, ourselves. Blocking.

    Raises:
        Permanent: users can't be made here.
    """
    if os.geteuid() != 0:
        ourselves = Owner(os.geteuid(), os.getegid())
        return Owners(ourselves, ourselves, ourselves)
    return Owners(*(ensure_user(name) for name in names(installation_id)))


def ensure_user(name: str) -> Owner:
    """A locked system user with a group of its own and no home."""
    if not exists(name):
        _run("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
             "--shell", "/usr/sbin/nologin", name)  # fmt: skip
    entry = pwd.getpwnam(name)
    return Owner(entry.pw_uid, entry.pw_gid, name)


def remove_user(name: str) -> None:
    """Remove the user; absent is success."""
    if exists(name):
        _run("userdel", name, fine=(0, _NO_SUCH_USER))


def of_installation(installation_id: str) -> list[str]:
    """Every system user of the installation, those of environments included."""
    prefix = f"aero{installation_id}-"
    return sorted(entry.pw_name for entry in pwd.getpwall() if entry.pw_name.startswith(prefix))


def run_as(
    owner: Owner | None, argv: Sequence[str], *, timeout: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a short program to its end with nothing of our environment, as `owner` when we are root. Blocking.

    Raises:
        subprocess.TimeoutExpired: after `timeout` seconds.
    """
    switch = owner is not None and os.geteuid() == 0
    return subprocess.run(
        argv,
        cwd="/",
        env=dict(environment or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        umask=0o077,
        start_new_session=True,  # Ctrl-C at the terminal is for us: what is nearly done is let finish
        user=owner.uid if owner and switch else None,
        group=owner.gid if owner and switch else None,
        extra_groups=() if switch else None,
    )


def _run(program: str, *arguments: str, fine: tuple[int, ...] = (0,)) -> None:
    path = shutil.which(program, path=_PATH)
    if path is None:
        raise Permanent(
            f"{program} was not found (Debian: apt install passwd). It makes the system users that servers run as; "
            "or run Aerodrome as an ordinary user, which needs none."
        )
    for attempt in range(_ATTEMPTS):
        done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
        if done.returncode in fine:
            return
        if "lock" not in done.stderr or attempt == _ATTEMPTS - 1:
            break
        time.sleep(_LOCK_PAUSE)
    raise Permanent(f"{program} {arguments[-1]} failed: {done.stderr.strip() or f'exit status {done.returncode}'}.")

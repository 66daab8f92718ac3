"""The system user of an environment: when we are root, each has its own, so that none reads another's files."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import threading
import time
from dataclasses import dataclass

from aerodrome.errors import Permanent, Temporary
from aerodrome.layout import Layout

_ATTEMPTS = 20  # the files are locked while somebody else adds or removes a user
_PAUSE = 0.25  # seconds between attempts
_EXISTS, _ABSENT, _IN_USE = 9, 6, 8  # exit codes of useradd and userdel
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class User:
    """Whom the programs of an environment run as. `uid` and `gid` are None when that is ourselves."""

    name: str
    uid: int | None
    gid: int | None


def name_of(installation_id: str, environment_id: str) -> str:
    """At most 32 characters, and carrying the installation's id: two installations on a machine never collide."""
    return f"aero{installation_id}-{environment_id}"


def ourselves() -> User:
    return User(pwd.getpwuid(os.geteuid()).pw_name, None, None)


def find(installation_id: str, environment_id: str) -> User | None:
    """The environment's user; None if there is none (yet)."""
    if os.geteuid() != 0:
        return ourselves()
    try:
        entry = pwd.getpwnam(name_of(installation_id, environment_id))
    except KeyError:
        return None
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid)


def ensure(layout: Layout, installation_id: str, environment_id: str) -> User:
    """The environment's user, made if missing. Blocking.

    Raises:
        Permanent: users can't be made here.
        Temporary: somebody else keeps the user database locked.
    """
    user = find(installation_id, environment_id)
    if user is not None:
        return user
    name = name_of(installation_id, environment_id)
    home = str(layout.airflow_home(environment_id))
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", home, "--shell", "/usr/sbin/nologin"]
    _run(["useradd", *options, name], fine=(0, _EXISTS))
    user = find(installation_id, environment_id)
    if user is None:
        raise Temporary(f"The system user {name} was made but can't be found; is a name service cache running?")
    return user


def remove(installation_id: str, environment_id: str) -> None:
    """Remove the environment's user, of which nothing runs and no file is left. Absent is success. Blocking."""
    user = find(installation_id, environment_id)
    if user is None or user.uid is None:
        return
    _run(["userdel", user.name], fine=(0, _ABSENT))


def end_processes(installation_id: str, environment_id: str) -> None:
    """End what still runs as the environment's user. Blocking.

    Raises:
        Temporary: processes of the user don't end.
    """
    user = find(installation_id, environment_id)
    if user is not None and user.uid is not None:
        _end_processes(user.name, user.uid)


def _end_processes(name: str, uid: int) -> None:
    """Nothing of the environment may live on under a number that is given to the next one."""
    for _ in range(_ATTEMPTS):
        pids = _processes(uid)
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
    raise Temporary(f"Processes of the user {name} don't end although they were killed.", 5)


def _processes(uid: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/status") as file:
                fields = dict(line.split(":", 1) for line in file if ":" in line)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields["State"].split()[0] != "Z" and str(uid) in fields["Uid"].split():
            found.append(int(entry))
    return found


def _run(command: list[str], fine: tuple[int, ...]) -> None:
    said = ""
    with _one_at_a_time:
        for _ in range(_ATTEMPTS):
            try:
                done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
            except FileNotFoundError:
                raise Permanent(f"`{command[0]}` is missing; install it (Debian: apt install passwd).") from None
            except subprocess.TimeoutExpired as error:
                raise Temporary(f"`{command[0]}` does not end.", 5) from error
            if done.returncode in fine:
                return
            said = done.stderr.decode(errors="replace").strip()
            if "lock" not in said and done.returncode not in (1, 10, _IN_USE):
                raise Permanent(f"`{' '.join(command)}` failed: {said}")
            time.sleep(_PAUSE)
    raise Temporary(f"`{' '.join(command)}` failed {_ATTEMPTS} times: {said}", 5)

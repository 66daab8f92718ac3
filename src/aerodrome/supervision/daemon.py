"""Starting supervisord: detached, with an empty environment, once per installation.

A file lock says whether it runs. The daemon inherits the locked descriptor, so the kernel gives the lock back at the
very moment it dies, however it dies.
"""

from __future__ import annotations

import configparser
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from aerodrome.errors import Permanent, Temporary
from aerodrome.files import write_file
from aerodrome.layout import Layout
from aerodrome.supervision import config
from aerodrome.supervision.files import Files
from aerodrome.supervision.launch import find


def owner(files: Files) -> int | None:
    """The pid of the supervisord that runs, if one does."""
    descriptor = _lock(files, create=False)
    if descriptor is not None:
        os.close(descriptor)
        return None
    try:
        return int(files.pid.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def is_held(files: Files) -> bool:
    """Whether a supervisord runs, or somebody is starting one."""
    descriptor = _lock(files, create=False)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


def start(layout: Layout, password: str, answers: Callable[[], bool], timeout: float) -> None:
    """Start supervisord unless it runs; return once it answers.

    Raises:
        Permanent: it can't start; the detail holds what it said.
        Temporary: it doesn't answer within `timeout` seconds (an earlier one may still be stopping programs).
    """
    config.check_home(layout)
    files = Files.of(layout)
    files.prepare()
    layout.log.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    spoken = layout.log / "supervisord.out"
    spawned = False
    while not answers():
        descriptor = _lock(files, create=True)
        if descriptor is not None:
            try:
                if spawned:
                    raise Permanent(f"The process supervisor did not start. See {spoken}.", _tail(spoken))
                files.pid.unlink(missing_ok=True)
                write_file(files.config, config.daemon(layout, password))
                mend(files)
                _spawn(files, spoken, descriptor)
                spawned = True
            finally:
                os.close(descriptor)
        if time.monotonic() > deadline:
            raise Temporary(
                f"The process supervisor does not answer at {layout.supervisor_socket} after {timeout:.0f} s. "
                f"An earlier one may still be stopping its programs; see {layout.log / 'supervisord.log'}.",
                5,
            )
        time.sleep(0.03)


def wait_gone(files: Files) -> None:
    """Return once no supervisord runs. Blocking."""
    while (descriptor := _lock(files, create=False)) is None:
        time.sleep(0.05)
    os.close(descriptor)


def _lock(files: Files, *, create: bool) -> int | None:
    """A descriptor that holds the lock; None if a supervisord, or somebody who is starting one, holds it."""
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    try:
        descriptor = os.open(files.lock, flags, 0o600)
    except FileNotFoundError:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)  # never started: nobody holds it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _spawn(files: Files, spoken: Path, lock: int) -> None:
    """`setsid --fork` makes it nobody's child, so that no parent has to reap it."""
    command = [find("setsid"), "--fork", sys.executable, "-I", "-X", "utf8", "-m", "supervisor.supervisord"]
    with spoken.open("wb") as output:
        spoken.chmod(0o600)
        subprocess.run(
            [*command, "-c", str(files.config)],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={"LANG": "C.UTF-8"},
            umask=0o022,
            pass_fds=(lock,),
        )


def mend(files: Files) -> None:
    """Take out what can't start: one program whose log directory is gone, or whose file is torn, would keep all others
    from starting; one whose launch files are torn would end for ever. Whoever wants it puts it again.
    """
    for path in (files.run / "conf.d").glob("*.ini"):
        if not (_can_log(path) and files.is_whole(path.stem)):
            path.replace(path.with_suffix(".bad"))


def _can_log(ini: Path) -> bool:
    log = log_of(ini)
    try:
        if log is not None:
            log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return log is not None


def log_of(ini: Path) -> Path | None:
    """The log that the configuration of a program names; None if it names none, is torn or is gone."""
    parser = configparser.RawConfigParser()
    try:
        parser.read(ini, encoding="utf-8")
        return Path(parser[f"program:{ini.stem}"]["stdout_logfile"].replace("%%", "%"))
    except (configparser.Error, KeyError, UnicodeDecodeError):
        return None


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-2000:].strip()

"""What Supervisor is asked to run, and what it says about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from aerodrome.errors import Permanent
from aerodrome.supervision.sandbox import Sandbox

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LONG = 600  # seconds: what may take longer than this to stop does work that must not be lost
_READ_ONLY = frozenset({"PPID", "UID", "EUID", "BASHOPTS", "SHELLOPTS"})  # of shells: setting one ends the launch
_SIGNALS = frozenset({"TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One supervised program.

    `environment` is all it gets besides the defaults PATH, LANG, HOME, USER and LOGNAME, and the place for secrets:
    it is kept sealed, in a file of ours, and never reaches argv, Supervisor's configuration or a log.
    """

    name: str
    argv: tuple[str, ...]  # the first word is an absolute path
    log_path: Path  # standard output and error; rotated
    uid: int | None = None  # None: as we are
    gid: int | None = None
    directory: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    stop_signal: str = "TERM"  # sent once, to the main process alone
    stop_wait: float = 60  # seconds from the stop signal to SIGKILL
    start_seconds: int = 1  # ends sooner than this: backs off before the next start
    job: bool = False  # runs once, to its end
    log_bytes: int = 20 * 1024 * 1024
    log_backups: int = 3
    priority: int = 500  # lower starts first and stops last
    umask: int = 0o027
    death_signal: str = "TERM"  # what the kernel sends it when supervisord dies
    waits: bool = False  # a new supervisord starts it only with `Supervisor.start_waiting`, or when it is put again
    sandbox: Sandbox | None = None  # what it sees; None: all that its user may


class ProgramPhase(StrEnum):
    """Supervisor's own words."""

    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    STOPPED = "stopped"
    EXITED = "exited"
    FATAL = "fatal"
    UNKNOWN = "unknown"

    @property
    def lives(self) -> bool:
        """Whether there is, or will again be, a process."""
        return self in (
            ProgramPhase.STARTING,
            ProgramPhase.RUNNING,
            ProgramPhase.BACKOFF,
            ProgramPhase.STOPPING,
        )


@dataclass(frozen=True, slots=True)
class ProgramState:
    """What is known of a program now."""

    name: str
    phase: ProgramPhase
    pid: int | None = None
    exit: int | None = None  # last exit code if it has ended; -1: by a signal
    since: datetime | None = None  # UTC: of its start while it lives, of its end afterwards
    description: str = ""
    starts: int = 0  # within the last hour, by this supervisord
    result: int | None = None  # exit code of a job that has ended; 128 + n: by signal n
    job: bool = False
    leaving: bool = False  # it was asked to stop, and does not come back by itself


def check(program: Program) -> None:
    """Refuse what could break Supervisor's configuration or the launch script.

    Raises:
        Permanent: names the member and the rule.
    """
    name = program.name
    if not _NAME.fullmatch(name):
        raise Permanent(f"The program name {name!r} must match {_NAME.pattern}.")
    if not program.argv or not program.argv[0].startswith("/"):
        raise Permanent(f"The command of {name} must start with an absolute path; it is {program.argv[:1]}.")
    if (program.uid is None) != (program.gid is None):
        raise Permanent(f"Program {name} names a user but no group, or a group but no user.")
    for signal in (program.stop_signal, program.death_signal):
        if signal not in _SIGNALS:
            raise Permanent(f"Program {name} names the signal {signal!r}; known are {', '.join(sorted(_SIGNALS))}.")
    if program.job and program.stop_signal != "TERM":
        raise Permanent(f"Job {name} must be stopped with TERM: its shell ignores other signals.")
    if program.sandbox is not None and (program.stop_signal, program.death_signal) != ("TERM", "TERM"):
        raise Permanent(f"{name} is confined, so it must be stopped with TERM: no other signal is handed on to it.")
    for variable in program.environment:
        if not _VARIABLE.fullmatch(variable) or variable in _READ_ONLY:
            raise Permanent(
                f"Program {name} sets {variable!r}, which isn't a name that an environment variable can have here."
            )
    if any("\0" in text for text in (*program.argv, *program.environment.values())):
        raise Permanent(f"An argument or variable of program {name} contains a NUL character; remove it.")
    check_path(program.log_path)


def check_path(path: Path) -> None:
    """Refuse paths that Supervisor's configuration language can't say.

    Raises:
        Permanent: names the path.
    """
    if not path.is_absolute() or re.search(r"[\n\r*?\[\]]|\s[;#]|^\s|\s$", str(path)):
        raise Permanent(
            f"The path {str(path)!r} must be absolute, without line breaks, '*', '?', brackets or ' #', ' ;'."
        )

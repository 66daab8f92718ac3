"""Trying, as the program's own user, what its start needs: clearer than a start that fails over and over."""

from __future__ import annotations

import subprocess

from aerodrome.errors import Permanent, Temporary
from aerodrome.supervision.launch import privileges
from aerodrome.supervision.program import Program

_TRY = '[ -d "$2" ] && cd -- "$2" || exit 4; [ -e "$1" ] || exit 5; [ -f "$1" ] && [ -x "$1" ] || exit 6'


def check_runnable(program: Program) -> None:
    """Blocking, a few milliseconds.

    Raises:
        Permanent: no such user, directory or command, or the user may not enter or execute it.
    """
    command = [*privileges(program.uid, program.gid, "KILL"), "/bin/sh", "-c", _TRY, "sh"]
    who = "this user" if program.uid is None else f"user {program.uid}"
    try:
        done = subprocess.run(
            [*command, program.argv[0], str(program.directory)],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            env={},
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Temporary(f"Can't try whether {program.name} could start: {error}.") from error
    said = done.stderr.decode(errors="replace").strip()
    reasons = {
        4: f"{who} can't enter its directory {program.directory}",
        5: f"there is no command {program.argv[0]} that {who} could see",
        6: f"{who} may not execute {program.argv[0]}",
    }
    if done.returncode:
        reason = reasons.get(done.returncode, f"{who} can't be used: {said}")
        raise Permanent(f"Program {program.name} can't run: {reason}.")

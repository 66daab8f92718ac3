"""The startup script: run as the environment's user, sourced by bash, its exports kept (mwaa-spec 5.2, 5.3).

The variables come back through a file that has no name (memfd), open in the shell and not in the script: nothing to
write over, no link to follow. As on MWAA the script has failed when it ended the shell (`exit`, `set -e`) or took five
minutes; that its last command ended with an error is told, and no failure: `[ … ] && …` does so every day.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aerodrome.domain.airflow_options import is_reserved
from aerodrome.errors import Permanent, Temporary
from aerodrome.supervision import processes
from aerodrome.supervision.launch import MARKER, defaults
from aerodrome.supervision.sandbox import Sandbox, become

TIMEOUT = 300.0  # seconds, MWAA's
_SHOWN = 20  # lines of a failure
_TAIL = 16 * 1024  # bytes in which they are looked for
_CAPTURED = 1 << 20  # bytes of variables, at most
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The shell's own: what it counts, what it doesn't let anybody set.
_SHELLS = frozenset({"_", "SHLVL", "PWD", "OLDPWD", "PPID", "UID", "EUID", "BASHOPTS", "SHELLOPTS"})

# $1: the script, $2: number of the open file. Before and after, so that what the shell itself adds is no export.
_SOURCE = """\
capture=$2
[ -r "$1" ] || { echo "$1 can't be read" >&2; exit 1; }
/usr/bin/env -u _ -0 >&"$capture"
printf '=\\0' >&"$capture"
eval 'source "$1" '"$capture"'>&-'
printf '%s\\0' "$?" >&"$capture"
exec /usr/bin/env -0 >&"$capture"
"""


@dataclass(frozen=True, slots=True)
class Startup:
    """What came of a startup script. `ignored`: exports of its that the service sets itself, sorted."""

    exports: Mapping[str, str] = field(repr=False)  # may hold secrets
    ignored: tuple[str, ...]
    status: int  # of its last command


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A script to run. `environment` is all it sees besides the defaults of every program."""

    path: Path
    directory: Path
    log: Path  # its output, written anew
    uid: int | None = None  # None: as we are
    gid: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    sandbox: Sandbox | None = None  # what it sees; None: all that its user may


async def run(script: Script, *, timeout: float = TIMEOUT) -> Startup:
    """Run it to its end; all that it started is ended with it.

    Raises:
        Permanent: it failed or took longer than `timeout` seconds; `detail` has the last lines of its output.
        Temporary: it can't be started here, or what it started can't be ended.
    """
    mark = f"{script.path}/{secrets.token_hex(8)}"
    capture = os.memfd_create("startup", os.MFD_CLOEXEC)
    try:
        ended = await _run(script, capture, mark, timeout)
        captured = os.pread(capture, _CAPTURED + 1, 0)
    finally:
        os.close(capture)
    if not ended:
        raise _failure(script, f"did not end within {timeout / 60:g} minutes, and was ended")
    if len(captured) > _CAPTURED:
        raise _failure(script, f"exported more than {_CAPTURED >> 10} KB of variables")
    found = read_capture(captured)
    if found is None:
        raise _failure(script, "failed: it ended the shell that it is sourced by (`exit`, or an error under `set -e`)")
    return found


async def _run(script: Script, capture: int, mark: str, timeout: float) -> bool:
    """Whether it ended by itself."""
    variables = defaults(script.uid) | dict(script.environment) | {MARKER: mark}
    command = ["/bin/bash", "--noprofile", "--norc", "-c", _SOURCE, "startup", str(script.path), str(capture)]
    log = os.open(script.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            *become(script.sandbox, script.uid, script.gid),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=script.directory,
            env=variables,
            pass_fds=(capture,),
            start_new_session=True,
        )
    except OSError as error:
        raise Temporary(f"The startup script {script.path} can't be run: {error}.") from error
    finally:
        os.close(log)
    started = processes.look(process.pid)
    try:
        async with asyncio.timeout(timeout):
            await process.wait()
    except TimeoutError:
        return False
    finally:
        roots = [processes.Record(started, processes.boot_id())] if started else []
        await asyncio.to_thread(processes.kill_tree, roots, mark)
        await process.wait()
    return True


def read_capture(captured: bytes) -> Startup | None:
    """What the shell wrote: variables before, `=`, the script's status, variables after. None: not all of it."""
    words = captured.decode(errors="surrogateescape").split("\0")
    try:
        middle = words.index("=")
        status = int(words[middle + 1])
    except (ValueError, IndexError):
        return None
    before, after = _variables(words[:middle]), _variables(words[middle + 2 :])
    if not after:
        return None
    changed = {name: value for name, value in after.items() if before.get(name) != value and name not in _SHELLS}
    ignored = {name for name in changed if is_reserved(name)} | {
        name for name in before.keys() - after if is_reserved(name)
    }
    exports = {name: value for name, value in changed.items() if name not in ignored and _NAME.fullmatch(name)}
    return Startup(exports, tuple(sorted(ignored)), status)


def _variables(words: list[str]) -> dict[str, str]:
    pairs = (word.partition("=") for word in words if "=" in word)
    return {name: value for name, _, value in pairs}


def _failure(script: Script, what: str) -> Permanent:
    lines = last_lines(script.log)
    said = f" Its last lines: {' | '.join(lines[-3:])}" if lines else " It printed nothing."
    return Permanent(f"The startup script {what}.{said}", "\n".join(lines))


def last_lines(log: Path) -> list[str]:
    """The last lines of a script's output, without empty ones."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        text = file.read().decode(errors="replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()][-_SHOWN:]

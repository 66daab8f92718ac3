"""The launch script of a program: plain shell, so that the pid is the real program's.

The way of a start: supervisord forks -> `env -i` -> `setpriv --pdeathsig` -> this script as we are: records who it is
(pid and start time survive every exec) -> `opening`, as we are, opens the sealed variables -> `setpriv` to the
program's user, which sets the death signal again because a change of user clears it -> a shell as that user: a last
look whether the parent still lives, then the variables -> the program. For a job the script stays on as parent and
writes down the exit code.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import sys
from collections.abc import Mapping

from aerodrome.errors import Permanent
from aerodrome.supervision import opening
from aerodrome.supervision.files import Files
from aerodrome.supervision.program import LONG, Program

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MARKER = "AERODROME_PROGRAM"  # inherited by all that a program starts: `processes.members` finds strays by it

_RECORD = """\
umask 077
PATH={path}
name={name}
run={run}
{{ read -r daemon <"$run/supervisord.pid"; }} 2>/dev/null
[ "$daemon" = "$PPID" ] || {{ echo "aerodrome: the process supervisor is gone; not starting $name" >&2; exit 1; }}
read -r now </proc/$$/stat || exit 1
read -r boot </proc/sys/kernel/random/boot_id || exit 1
record="$run/pids/$name"
if {{ read -r before <"$record"; }} 2>/dev/null && {{ read -r alive <"/proc/${{before%% *}}/stat"; }} 2>/dev/null; then
  set -- ${{before##*) }}; start=${{20}}
  set -- ${{alive##*) }}
  [ "$start" = "${{20}}" ] && [ "$1" != Z ] && mv "$record" "$record~${{before%% *}}"
fi
printf '%s\\n' "$now" "$boot" >"$run/pids/.$name.new" && mv "$run/pids/.$name.new" "$record" || exit 1
{{ tail -n 99 "$run/starts/$name"; date +%s; }} >"$run/starts/.$name.new" 2>/dev/null
mv "$run/starts/.$name.new" "$run/starts/$name" || exit 1
"""

_FINISHED = """\
if { read -r code <"$run/results/$name"; } 2>/dev/null; then exit "$code"; fi
"""

# Runs as the program's user. $1: who must still be the parent, $2 directory, $3 umask, then the program. The variables
# come last and by descriptor 3: a user's LD_PRELOAD must never reach a process that still has our rights.
_INNER = (
    'PATH=/usr/bin:/bin; [ "$PPID" = "$1" ] || exit 1; cd -- "$2" || exit 126; umask "$3"; shift 3; '
    'variables=$(cat <&3) || exit 1; exec 3<&-; unset OLDPWD; eval "unset variables; $variables"; exec "$@"'
)

_JOB_START = """\
child=
asked=
trap 'asked=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM
"""

_JOB_END = """\
child=$!
[ -z "$asked" ] || kill -TERM "$child" 2>/dev/null
wait "$child"; code=$?
while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
if [ -z "$asked" ] || [ "$code" = 0 ]; then
  printf '%s\\n' "$code" >"$run/results/.$name.new" && mv "$run/results/.$name.new" "$run/results/$name"
fi
exit "$code"
"""


def find(tool: str) -> str:
    """The absolute path of a tool of the system.

    Raises:
        Permanent: it isn't installed.
    """
    path = shutil.which(tool, path=PATH)
    if path is None:
        raise Permanent(
            f"The program `{tool}` is missing; install it (Debian: apt install util-linux coreutils passwd)."
        )
    return path


def privileges(uid: int | None, gid: int | None, death_signal: str) -> list[str]:
    """`setpriv …` that turns us into the user, never to gain privileges again, bound to the parent's life."""
    words = [find("setpriv"), "--pdeathsig", death_signal]
    if uid is not None:
        words += ["--reuid", str(uid), "--regid", str(gid), "--clear-groups", "--no-new-privs"]
    return [*words, "--"]


def defaults(uid: int | None) -> dict[str, str]:
    """The variables that every program gets unless it says otherwise."""
    variables = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/"}
    try:
        user = pwd.getpwuid(os.geteuid() if uid is None else uid)
    except KeyError:
        return variables
    return variables | {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}


def marker(files: Files, name: str) -> str:
    return f"{files.run}/{name}"


def variables(files: Files, program: Program) -> str:
    """The program's environment as shell text; a secret."""
    environment = defaults(program.uid) | dict(program.environment) | {MARKER: marker(files, program.name)}
    return exports(environment)


def exports(environment: Mapping[str, str]) -> str:
    """Shell text that sets the variables, whatever their values hold."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(environment.items()))


def _opener(files: Files, program: Program) -> list[str]:
    """What puts the variables at descriptor 3 of what follows it."""
    return [sys.executable, "-I", opening.__file__, str(files.run.parent), program.name]


def script(files: Files, program: Program) -> str:
    """The text of the launch script."""
    quote = shlex.quote
    start = shlex.join(
        [
            *_opener(files, program),
            *privileges(program.uid, program.gid, program.death_signal),
            "/bin/sh",
            "-c",
            _INNER,
            "sh",
        ]
    )
    rest = shlex.join([str(program.directory), f"{program.umask:04o}", *program.argv])
    given = "</dev/null"
    record = _RECORD.format(path=quote(PATH), name=quote(program.name), run=quote(str(files.run)))
    if program.job:
        return f'{record}{_FINISHED}{_JOB_START}{start} "$$" {rest} {given} &\n{_JOB_END}'
    # Supervisor's end of the pipe stays open as descriptor 9. Once nobody reads a pipe, poll() reports an error for it
    # at once and for ever, if Supervisor ever read from a descriptor of that number (a job's output, say): it spins.
    # With descriptor 8, a program that takes its time to stop can read what it says: when supervisord is killed, nobody
    # else does, and the error would end it in its work. `leftovers.read_on` empties the pipe from then on.
    own = " 8</proc/self/fd/1" if program.stop_wait > LONG else ""
    return f'{record}exec {start} "$PPID" {rest} 9<&0{own} {given}\n'

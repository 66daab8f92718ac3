"""Bringing everything back by itself when the process supervisor was killed.

A shell that sleeps, under Supervisor like all the rest. The kernel signals it when supervisord dies, however that dies;
then it runs `aerodrome up`, unless an `aerodrome down` was at work. An orderly stop ends it first. So each of the two
watches the other, and neither has to look every second.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from aerodrome.layout import Layout
from aerodrome.machineroom import draining
from aerodrome.supervision import Program

NAME = "guard"

# $1: the log, $2: the sign of a `down`, then the command. What `up` starts must not carry this program's name in its
# environment.
_SCRIPT = r"""
log=$1 stopping=$2; shift 2
attempts='for pause in 2 5 10 30 60 0; do "$@" && exit; sleep "$pause"; done'
asleep=
wake() { [ -z "$asleep" ] || kill "$asleep"; }
back() {
  wake
  [ ! -e "$stopping" ] || exit 0
  echo "$(date -u '+%F %T') The process supervisor is gone; bringing everything back." >>"$log"
  unset AERODROME_PROGRAM
  setsid --fork /bin/sh -c "$attempts" sh "$@" >>"$log" 2>&1 </dev/null
  exit 0
}
trap 'wake; exit 0' TERM
trap 'back "$@"' USR1
setpriv --pdeathsig KILL -- /bin/sh -c 'kill -0 "$1" && exec sleep infinity' sh "$$" & asleep=$!
while kill -0 "$asleep" 2>/dev/null; do wait "$asleep"; done
"""


def comeback() -> tuple[str, ...]:
    """The command that brings everything back."""
    return (sys.executable, "-P", "-m", "aerodrome.cli", "up", "--detach")


def program(layout: Layout, surroundings: Mapping[str, str], command: tuple[str, ...]) -> Program:
    """`surroundings` is the part of the environment that an `up` by hand would have."""
    log = layout.log / f"{NAME}.log"
    return Program(
        name=NAME,
        argv=("/bin/sh", "-c", _SCRIPT, "sh", str(log), str(draining.sign(layout)), *command),
        log_path=log,
        environment={**surroundings, "AERODROME_HOME": str(layout.home)},
        stop_wait=5,
        priority=90,
        death_signal="USR1",
    )

"""What this machine offers an installation, and what is less than it could be: `aerodrome doctor`.

A check is a function of `Ground` that returns one `Finding`; `CHECKS` lists them. They change nothing.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from aerodrome.errors import Permanent
from aerodrome.machineroom import hosts, ports
from aerodrome.supervision import sandbox
from aerodrome.supervision.rights import find

_TOOLS = ("env", "setpriv", "setsid", "sh", "cat", "tail", "date", "mv")
_ROOT_TOOLS = ("useradd", "userdel")
_GIB = 1 << 30
_SPACE, _ROOM = 3 * _GIB, 10 * _GIB  # one environment fits; several, with requirements of their own
_FILES = 4096  # that Supervisor asks for
_HTTPS = 443


class Verdict(StrEnum):
    OK = "ok"
    LESS = "less"  # it works, but something isn't as good as it could be
    WRONG = "wrong"  # an installation can't work here


@dataclass(frozen=True, slots=True)
class Finding:
    """`text` says what is so; `advice` what to do about it, if anything."""

    check: str
    verdict: Verdict
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Ground:
    """What is asked about: where the home is, or would be, and AERODROME_SANDBOX."""

    home: Path
    sandbox: str


def _user(_: Ground) -> Finding:
    if os.geteuid() == 0:
        return Finding("user", Verdict.OK, "root: every environment gets a system user of its own.")
    return Finding(
        "user",
        Verdict.LESS,
        "An ordinary user: all environments run as you.",
        "For teams that don't trust each other, run the installation as root.",
    )


def _tools(_: Ground) -> Finding:
    missing = []
    for tool in (*_TOOLS, *(_ROOT_TOOLS if os.geteuid() == 0 else ())):
        try:
            find(tool)
        except Permanent:
            missing.append(tool)
    if missing:
        advice = "Install them (Debian: apt install util-linux coreutils passwd)."
        return Finding("tools", Verdict.WRONG, f"Missing: {', '.join(missing)}.", advice)
    return Finding("tools", Verdict.OK, "The system's tools that programs are started with are here.")


def _sandbox(ground: Ground) -> Finding:
    try:
        works, why = sandbox.decide(ground.sandbox)
    except Permanent as error:
        return Finding("sandbox", Verdict.WRONG, str(error), "Mend that, or set AERODROME_SANDBOX=auto.")
    if works:
        return Finding("sandbox", Verdict.OK, "bubblewrap works: components see their own environment alone.")
    advice = "There is no /usr/local/airflow for DAGs either. Debian: apt install bubblewrap; then `aerodrome up`."
    return Finding("sandbox", Verdict.LESS, f"Components aren't confined: {why}", advice)


def _disk(ground: Ground) -> Finding:
    place = next(path for path in (ground.home, *ground.home.parents) if path.exists())
    free = shutil.disk_usage(place).free
    text = f"{free / _GIB:.1f} GiB are free on the file system of {ground.home}."
    if free >= _ROOM:
        return Finding("disk", Verdict.OK, text)
    advice = (
        "A version of Airflow takes 0.4 GiB, an environment's logs and database what its work makes. Free some space."
    )
    return Finding("disk", Verdict.LESS if free >= _SPACE else Verdict.WRONG, text, advice)


def _files(_: Ground) -> Finding:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # Supervisor raises its own as far as it may
    if most == resource.RLIM_INFINITY or most >= _FILES:
        return Finding("open files", Verdict.OK, "Enough files can be open at once.")
    text = f"{most} files can be open at once: listeners take fewer connections."
    return Finding("open files", Verdict.LESS, text, f"Raise the limit to {_FILES} (`ulimit -n`).")


def _https(_: Ground) -> Finding:
    why = ports.problem(_HTTPS, ["127.0.0.1"])
    if why is None or (why.startswith("is taken") and os.geteuid() == 0):
        return Finding("port 443", Verdict.OK, "Web servers can be at port 443, or are there.")
    advice = "They will be at 8443, which real MWAA clients don't know: they expect 443."
    return Finding("port 443", Verdict.LESS, f"Port 443 {why}.", advice)


def _names(_: Ground) -> Finding:
    if asyncio.run(hosts.resolves()):
        return Finding("names", Verdict.OK, "*.localhost resolves: web servers have names.")
    text = "*.localhost doesn't resolve here: web servers have addresses (127.83.x.y) instead of names."
    return Finding("names", Verdict.LESS, text, "For names: Debian: apt install libnss-myhostname.")


CHECKS: tuple[Callable[[Ground], Finding], ...] = (_user, _tools, _sandbox, _disk, _files, _https, _names)


def examine(ground: Ground, checks: Iterable[Callable[[Ground], Finding]] = CHECKS) -> list[Finding]:
    """Every check's finding, in order. Blocking, up to some seconds."""
    return [check(ground) for check in checks]

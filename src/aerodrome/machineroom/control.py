"""The control plane as a program: its command line, and what of the caller's environment it is handed."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping

from aerodrome import __version__
from aerodrome.files import write_file
from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation
from aerodrome.supervision import Program

NAME = "server"
_LOOPBACK = ("127.0.0.1", "localhost", ".localhost", "::1")
# Of the C library: two heaps for all threads instead of one for each, and what is free at their ends is given back.
# Else every thread that ever read a bucket or asked a worker keeps the most that it has needed.
LEAN = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": str(128 * 1024)}
_RELEASE = "AERODROME_RELEASE"  # changes the specification, so that `up` after an upgrade restarts the control plane

# How tests run something else in its place.
Control = Callable[[Layout, Installation, Mapping[str, str]], Program]


def program(layout: Layout, installation: Installation, surroundings: Mapping[str, str]) -> Program:
    """`python -m aerodrome.server --home HOME`. `surroundings` are what `settings.surroundings()` lets through."""
    variables = {
        **LEAN,
        **without_proxy_to_ourselves(surroundings),
        _RELEASE: __version__,
        **installation.postgres_variables,
    }
    return Program(
        name=NAME,
        argv=(sys.executable, "-P", "-m", "aerodrome.server", "--home", str(layout.home)),
        log_path=layout.log / f"{NAME}.log",
        environment=variables,
        stop_wait=30,
        priority=400,
    )


def health_url(installation: Installation) -> str:
    return f"{installation.endpoint}/healthz"


def without_proxy_to_ourselves(surroundings: Mapping[str, str]) -> dict[str, str]:
    """A proxy for the registry must not be asked for what is on this machine."""
    variables = dict(surroundings)
    for name in ("NO_PROXY", "no_proxy"):
        listed = [entry.strip() for entry in variables.get(name, "").split(",") if entry.strip()]
        if listed != ["*"]:
            variables[name] = ",".join([*listed, *(entry for entry in _LOOPBACK if entry not in listed)])
    return variables


def is_as_recorded(layout: Layout, wanted: Program) -> bool:
    """Whether the control plane that was put last had these very settings. PATH alone makes no difference."""
    record = layout.run / "server.digest"
    return record.exists() and record.read_text() == _digest(wanted)


def record(layout: Layout, wanted: Program) -> None:
    write_file(layout.run / "server.digest", _digest(wanted), 0o600)


def _digest(wanted: Program) -> str:
    variables = {name: value for name, value in wanted.environment.items() if name != "PATH"}
    return hashlib.sha256(json.dumps([wanted.argv, variables], sort_keys=True).encode()).hexdigest()

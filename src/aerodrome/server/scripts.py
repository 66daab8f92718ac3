"""A startup script of an environment: run as its user, for each kind of MWAA's containers (mwaa-spec 5.2, 5.3)."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aerodrome.backends import directories
from aerodrome.backends.users import User
from aerodrome.content import startup
from aerodrome.content.startup import Script, Startup
from aerodrome.domain.masking import mask
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.reconcile.ports import Made
from aerodrome.server.errands import Progress
from aerodrome.supervision.launch import PATH
from aerodrome.supervision.sandbox import AIRFLOW_HOME, Sandbox

_WHO = "MWAA_AIRFLOW_COMPONENT"
_SECRETS = ("AWS_CONTAINER_AUTHORIZATION_TOKEN",)  # of what it is given
_KINDS = ("scheduler", "webserver", "worker")
_ASSIGNMENT = re.compile(r"""(?<![\w$])([A-Za-z_]\w*)=('[^']*'|"[^"]*"|[^\s;&|'"]+)""")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a script runs, and as whom. `programs`: of the runtime without the environment's requirements."""

    layout: Layout
    environment_id: str
    user: User
    programs: Path
    sandbox: Sandbox | None = None


@dataclass(slots=True)
class _Found:
    exports: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)
    ignored: set[str] = field(default_factory=set)
    status: int = 0


async def run(place: Place, path: Path, variables: Mapping[str, str], progress: Progress) -> Made:
    """Run the script at `path`; the product holds what it exports for each kind of container.

    One that asks which kind it runs in is run for each of them, one after the other, with five minutes each; any other
    one is run once. What it prints lies among the components' logs.

    Raises:
        Permanent: it failed or took too long; the message has its last lines, without values that it sets.
        Temporary: it can't be started here.
    """
    text = await asyncio.to_thread(path.read_text, errors="replace")
    asks = _WHO in text
    found = _Found()
    for kind in _KINDS if asks else _KINDS[:1]:
        with progress.phase("startup", f"Running the startup script{f' ({kind})' if asks else ''}"):
            script = _script(place, path, kind, {**variables, _WHO: kind}, f"-{kind}" if asks else "")
            try:
                ended = await startup.run(script)
            except Permanent as error:
                secrets = [*assignments(text), *((name, variables[name]) for name in _SECRETS if name in variables)]
                raise Permanent(mask(str(error), secrets), mask(error.detail, secrets)) from None
        found.exports[kind] = _exports(ended, place.programs)
        found.ignored.update(ended.ignored)
        found.status = found.status or ended.status
    exports = {kind: found.exports.get(kind, found.exports[_KINDS[0]]) for kind in _KINDS}
    return Made({"exports": exports}, _told(found), progress.took)


def _script(place: Place, path: Path, kind: str, variables: Mapping[str, str], log: str) -> Script:
    directory = place.layout.airflow_home(place.environment_id)
    home = directory if place.sandbox is None else AIRFLOW_HOME
    return Script(
        path=path,
        directory=directory,
        log=place.layout.component_logs(place.environment_id) / f"startup-script{log}.log",
        uid=place.user.uid,
        gid=place.user.gid,
        environment={
            **variables,
            "PATH": f"{place.programs}:{PATH}",
            "HOME": str(home),
            "AIRFLOW_HOME": str(home),
            "TMPDIR": str(directories.temporary(place.layout, place.environment_id)),
        },
        sandbox=place.sandbox,
    )


def _exports(ended: Startup, programs: Path) -> dict[str, str]:
    """As components get them: in `PATH`, the runtime's programs are those of the runtime that each runs in.

    Raises:
        Permanent: a value is no text.
    """
    exports = dict(ended.exports)
    for name, value in exports.items():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Permanent(
                f"The startup script failed: what it exports as {name} is no UTF-8; encode it (base64, say)."
            ) from None
    if "PATH" in exports:
        literal = exports["PATH"].replace("{", "{{").replace("}", "}}")
        exports["PATH"] = literal.replace(str(programs), "{programs}")
    return exports


def _told(found: _Found) -> str:
    """The names that it exports: a value may be a secret."""
    names = sorted({name for each in found.exports.values() for name in each})
    said = f"The startup script ran and exports {', '.join(names) or 'nothing'}."
    if found.ignored:
        said += f" What it does to {', '.join(sorted(found.ignored))} is ignored: the service sets that."
    if found.status:
        said += f" Its last command ended with status {found.status}."
    return said


def assignments(text: str) -> list[tuple[str, str]]:
    """Variables that a script sets, with their values as far as they stand there: its output may repeat them."""
    found = list[tuple[str, str]]()
    for name, value in _ASSIGNMENT.findall(text):
        try:
            words = shlex.split(value)
        except ValueError:
            words = []
        found.append((name, words[0] if words else value))
    return found

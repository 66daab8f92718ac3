"""`aerodrome startup test FILE`: what a startup script would do, seen before an environment runs it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from aerodrome.cli.output import Steps, out
from aerodrome.domain import versions
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.machineroom.progress import timed
from aerodrome.settings import Settings
from aerodrome.supervision.launch import PATH
from aerodrome.supervision.sandbox import Sandbox, interpreter

startup_app = typer.Typer(name="startup", help="Try a startup script without an environment.", no_args_is_help=True)

_COMPONENTS = ("webserver", "scheduler", "worker")


@startup_app.command("test")
def try_command(
    file: Annotated[Path, typer.Argument(help="The startup script.", show_default=False, exists=True, dir_okay=False)],
    version: Annotated[str, typer.Option("--airflow-version", help="Version of Airflow.")] = versions.DEFAULT_VERSION,
    component: Annotated[
        str, typer.Option("--component", help="What MWAA_AIRFLOW_COMPONENT says: webserver, scheduler or worker.")
    ] = "worker",
) -> None:
    """Run a startup script as an environment does, and show what it prints and exports.

    As root it runs as the user nobody. Ends with 1 when it fails, or takes more than five minutes.
    """
    if component not in _COMPONENTS:
        raise typer.BadParameter(f"must be one of {', '.join(_COMPONENTS)}", param_hint="--component")
    asyncio.run(_test(Layout(Settings().home), file, version, component))


async def _test(layout: Layout, file: Path, version: str, component: str) -> None:
    from aerodrome.cli import trial  # here: the other commands don't need them
    from aerodrome.content import startup

    with TemporaryDirectory(prefix="aerodrome-startup-") as folder, Steps() as steps:
        runtime = await trial.ensure_runtime(layout, version, steps)
        user = trial.somebody()
        home = _home(Path(folder), file, user.uid, user.gid)
        place = layout.runtime(runtime.key)
        read = (home.parent / "startup.sh", place, *interpreter(place))
        script = startup.Script(
            path=home.parent / "startup.sh",
            directory=home,
            log=home.parent / "startup.log",
            uid=user.uid,
            gid=user.gid,
            environment=_variables(home, component, version, place / "bin"),
            sandbox=Sandbox(home=home, temporary=home, read=read, hidden=(layout.home,)) if user.confined else None,
        )
        try:
            with timed(steps, "Startup script"):
                found = await startup.run(script)
        except Permanent:
            sys.stdout.write(script.log.read_text(errors="replace"))
            raise
        sys.stdout.write(script.log.read_text(errors="replace"))
    for name in sorted(found.exports):  # values may be secrets, and a terminal's output is kept in many places
        out.print(f"exports {name}", markup=False)
    for name in found.ignored:
        out.print(f"{name} is set by the service: what the script does to it is ignored.", style="yellow", markup=False)
    if found.status:
        out.print(f"Its last command ended with status {found.status}.", style="yellow", markup=False)
    out.print(f"{file.name} runs to its end.", markup=False)


def _home(folder: Path, file: Path, uid: int | None, gid: int | None) -> Path:
    """A home for the script, and a copy of it beside that everybody can read: not every user can enter the file's."""
    folder.chmod(0o755)
    home = folder / "home"
    home.mkdir()
    if uid is not None and gid is not None:
        os.chown(home, uid, gid)
    shutil.copyfile(file, folder / "startup.sh")
    (folder / "startup.sh").chmod(0o644)
    return home


def _variables(home: Path, component: str, version: str, programs: Path) -> dict[str, str]:
    """What components see (mwaa-spec 5.3), as far as there is such a thing without an environment."""
    return {
        "PATH": f"{programs}:{PATH}",
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_VERSION": version,
        "AIRFLOW_ENV_NAME": "startup-test",
        "AIRFLOW_ENV_ID": "000000000000",
        "AWS_EXECUTION_ENV": f"Amazon_MWAA_{version.replace('.', '')}",
        "MWAA_AIRFLOW_COMPONENT": component,
        "LANG": "C.UTF-8",
    }

"""`aerodrome runtimes …`: for those who add a version of Airflow to the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aerodrome.cli.output import out
from aerodrome.domain import versions
from aerodrome.layout import Layout
from aerodrome.settings import Settings

runtimes_app = typer.Typer(name="runtimes", help="The locks that Airflow is installed from.", no_args_is_help=True)


@runtimes_app.command("lock")
def lock(
    version: Annotated[str, typer.Argument(help="Version of Airflow, one of the catalogue.", show_default=False)],
    folder: Annotated[Path, typer.Option("--to", help="Folder that the lock files are written to.")] = Path(),
) -> None:
    """Resolve a version's dependencies again and write a lock file for each of its Pythons."""
    from aerodrome.runtimes.lock import make_lock  # here: the other commands don't need it

    known = versions.get(version)
    for python in known.pythons:
        target = folder / f"airflow-{version}-py{python}.txt"
        text = make_lock(known, python, Layout(Settings().home).cache)
        target.write_text(text)
        out.print(f"{target}: {sum('==' in line for line in text.splitlines())} packages", markup=False)

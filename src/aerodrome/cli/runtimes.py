"""`aerodrome runtimes …`: for those who add a version of Airflow to the catalogue."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from aerodrome.cli.output import out
from aerodrome.domain import versions
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.runtimes.providers import compare
from aerodrome.settings import Settings

runtimes_app = typer.Typer(name="runtimes", help="The locks that Airflow is installed from.", no_args_is_help=True)

_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ"]


@runtimes_app.command("lock")
def lock(
    version: Annotated[str, typer.Argument(help="Version of Airflow.", show_default=False)],
    folder: Annotated[Path, typer.Option("--to", help="Folder that the lock files are written to.")] = Path(),
    released: Annotated[
        datetime | None,
        typer.Option(formats=_DATES, help="Day of the release.", show_default="the catalogue's"),
    ] = None,
    constraints: Annotated[
        datetime | None,
        typer.Option(
            "--constraints-date",
            formats=_DATES,
            help="When the official constraints were made (UTC; their first line says so).",
            show_default="the catalogue's",
        ),
    ] = None,
) -> None:
    """Resolve a version's dependencies and write a lock file for each of its Pythons.

    For a version that isn't in the catalogue yet, give both dates. Ends with 1 when a provider of MWAA's image is
    missing or has another version.
    """
    from aerodrome.runtimes.lock import make_lock  # here: the other commands don't need it

    known = _entry(version, released, constraints)
    fits = True
    for python in known.pythons:
        target = folder / f"airflow-{version}-py{python}.txt"
        text = make_lock(known, python, Layout(Settings().home).cache)
        target.write_text(text)
        out.print(f"{target}: {sum('==' in line for line in text.splitlines())} packages", markup=False)
        fits = _tell_providers(text, known) and fits
    if not fits:
        raise typer.Exit(1)


def _entry(version: str, released: datetime | None, constraints: datetime | None) -> versions.AirflowVersion:
    """The catalogue's entry, or for a release that it hasn't got that of the newest relative, with the new dates.

    Raises:
        Permanent: it is unknown and a date is missing, or nothing like it is known.
    """
    if versions.exists(version):
        entry = versions.get(version)
    else:
        major = version.partition(".")[0]
        relatives = [known for known in versions.VERSIONS.values() if str(known.major) == major]
        if not relatives:
            raise Permanent(f"There is no Airflow {major} in the catalogue (domain/versions.py): add an entry first.")
        if released is None or constraints is None:
            raise Permanent(
                f"Airflow {version} is not in the catalogue ({', '.join(versions.VERSIONS)}). "
                "Give --released and --constraints-date to make its lock."
            )
        entry = replace(relatives[0], version=version, mwaa_providers={})
    if released is not None:
        entry = replace(entry, released=released.date().isoformat())
    if constraints is not None:
        entry = replace(entry, constraints_date=constraints.replace(tzinfo=UTC).isoformat())
    return entry


def _tell_providers(text: str, known: versions.AirflowVersion) -> bool:
    found = compare(text, known.mwaa_providers)
    if not known.mwaa_providers:
        out.print(f"  {len(found.beyond)} providers; MWAA's set for {known.version} isn't known", markup=False)
        return True
    more = f"; beyond MWAA: {', '.join(found.beyond)}" if found.beyond else ""
    out.print(
        f"  {len(found.same)} of MWAA's {len(known.mwaa_providers)} providers in MWAA's version{more}", markup=False
    )
    for name, (ours, theirs) in found.different.items():
        out.print(f"  {name}: {ours} here, {theirs} in MWAA", style="yellow", markup=False)
    for name in found.missing:
        out.print(f"  {name}: missing, MWAA has {known.mwaa_providers[name]}", style="yellow", markup=False)
    return found.fits

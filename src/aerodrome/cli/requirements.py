"""`aerodrome requirements …`: what a requirements.txt would do, seen before an environment is asked for it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from aerodrome.cli.output import Steps, out
from aerodrome.domain import versions
from aerodrome.files import write_file
from aerodrome.layout import Layout
from aerodrome.machineroom.progress import timed
from aerodrome.settings import Settings

requirements_app = typer.Typer(
    name="requirements",
    help="Try a requirements.txt, or pack what it needs, without an environment.",
    no_args_is_help=True,
)

File = Annotated[Path, typer.Argument(help="The requirements.txt.", show_default=False, exists=True, dir_okay=False)]
Version = Annotated[str, typer.Option("--airflow-version", help="Version of Airflow.")]
Plugins = Annotated[
    Path | None, typer.Option("--plugins", help="The plugins.zip that goes with it.", exists=True, dir_okay=False)
]
Dags = Annotated[Path | None, typer.Option("--dags", help="The folder of the DAGs.", exists=True, file_okay=False)]


@requirements_app.command("test")
def try_command(
    file: File, version: Version = versions.DEFAULT_VERSION, plugins: Plugins = None, dags: Dags = None
) -> None:
    """Resolve and install a requirements.txt beside Airflow, and see Airflow start with it; nothing is kept.

    Ends with 1 when it conflicts, with the resolver's explanation.
    """
    asyncio.run(_test(Layout(Settings().home), file, version, plugins, dags))


async def _test(layout: Layout, file: Path, version: str, plugins: Path | None, dags: Path | None) -> None:
    from aerodrome.cli import trial  # here and below: the other commands don't need them
    from aerodrome.runtimes import extend
    from aerodrome.runtimes.resolve import resolve

    reader = trial.somebody()
    with Steps() as steps, trial.unpacked(plugins, dags) as folders:
        runtime = await trial.ensure_runtime(layout, version, steps)
        wanted = await asyncio.to_thread(trial.read_requirements, file, version, runtime.python, folders)
        with timed(steps, "Resolve"):
            resolution = await asyncio.to_thread(resolve, layout, runtime.key, wanted, folders)
        if resolution.is_empty:
            out.print(f"{file.name} asks for nothing that Airflow {version} hasn't got.", markup=False)
            return
        extension = extend.Extension(runtime.key, wanted, resolution, folders, scope="test")
        await asyncio.to_thread(extend.sweep, layout)
        with extend.only_maker(layout, extension.key):
            try:
                with timed(steps, "Install"):
                    fresh = await extend.make(layout, extension, reader)
                with timed(steps, f"Start Airflow {version}"):
                    await extend.try_start(layout, fresh, version, reader)
            finally:
                await asyncio.to_thread(shutil.rmtree, extend.aside(layout, extension.key), ignore_errors=True)
    _show(resolution.packages, resolution.replaced)
    out.print(f"{file.name} fits Airflow {version} on Python {runtime.python}.", markup=False)


def _show(packages: Mapping[str, str], replaced: Mapping[str, str]) -> None:
    for name, version in sorted(packages.items()):
        before = f"{replaced[name]} -> " if name in replaced else ""
        out.print(f"  {name} {before}{version}", markup=False)


@requirements_app.command("package")
def package_command(
    file: File,
    to: Annotated[Path, typer.Option("--to", help="Folder that plugins.zip and requirements.txt are written to.")],
    version: Version = versions.DEFAULT_VERSION,
    python: Annotated[
        str | None, typer.Option("--python", help="Version of Python, 3.12 say.", show_default="the one on MWAA")
    ] = None,
    machine: Annotated[str, typer.Option("--machine", help="x86_64 or aarch64, whatever this one is.")] = "x86_64",
    plugins: Plugins = None,
    dags: Dags = None,
) -> None:
    """Pack the wheels that a requirements.txt needs into a plugins.zip, beside a requirements.txt that takes them.

    For environments that can't reach the package registry, here or on MWAA. What Airflow has already is left out; a
    package without a wheel for the machine is refused.
    """
    from aerodrome.runtimes.package import MACHINES

    target = python or versions.get(version).mwaa_python
    if machine not in MACHINES:
        raise typer.BadParameter(f"must be one of {', '.join(MACHINES)}", param_hint="--machine")
    if to.absolute() == file.absolute().parent:
        raise typer.BadParameter(f"would overwrite {file}; name another folder", param_hint="--to")
    to.mkdir(parents=True, exist_ok=True)
    asyncio.run(_package(Layout(Settings().home), file, to, version, target, machine, plugins, dags))


async def _package(
    layout: Layout,
    file: Path,
    to: Path,
    version: str,
    python: str,
    machine: str,
    plugins: Path | None,
    dags: Path | None,
) -> None:
    from aerodrome.cli import trial
    from aerodrome.runtimes import package as packing
    from aerodrome.runtimes.key import lock_text
    from aerodrome.runtimes.requirements import PLUGINS
    from aerodrome.runtimes.resolve import resolve_elsewhere

    shipped = lock_text(version, python)
    with (
        Steps() as steps,
        trial.unpacked(plugins, dags) as folders,
        TemporaryDirectory(prefix="aerodrome-wheels-") as name,
    ):
        wanted = await asyncio.to_thread(trial.read_requirements, file, version, python, folders)
        with timed(steps, "Resolve"):
            lock = await asyncio.to_thread(
                resolve_elsewhere, layout, version, python, packing.uv_platform(machine), wanted, folders
            )
            wheels = packing.choose(lock, shipped, python, machine)
        with timed(steps, "Download"):
            paths = [await asyncio.to_thread(packing.fetch, wheel, Path(name), wanted) for wheel in wheels]
        await asyncio.to_thread(packing.pack, to / "plugins.zip", paths, folders.get(PLUGINS))
        write_file(to / "requirements.txt", packing.packed_requirements(wheels), 0o644)
    for wheel in wheels:
        out.print(f"  {wheel.file}", markup=False)
    out.print(
        f"{to / 'plugins.zip'} and {to / 'requirements.txt'}: for Airflow {version}, Python {python}, Linux {machine}.",
        markup=False,
    )

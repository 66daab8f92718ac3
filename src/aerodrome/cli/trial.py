"""What the commands that try things without an environment share: the runtime, plugins, somebody to run as."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from aerodrome.cli.output import out
from aerodrome.content.unpack import unpack
from aerodrome.domain import versions
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.machineroom.progress import Progress, timed
from aerodrome.runtimes import build, inventory, progress
from aerodrome.runtimes.extend import Reader
from aerodrome.runtimes.key import choose_python, is_ready, runtime_key
from aerodrome.runtimes.requirements import DAGS, PLUGINS, Requirements, parse
from aerodrome.runtimes.sources import opener
from aerodrome.settings import Settings
from aerodrome.supervision import sandbox

_NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime that is there and whole."""

    key: str
    version: str
    python: str


def somebody() -> Reader:
    """Whom code of packages and scripts runs as: never root, and confined as environments are."""
    confined, _ = sandbox.decide(Settings().sandbox)
    return Reader(_NOBODY, _NOBODY, confined) if os.geteuid() == 0 else Reader(confined=confined)


async def ensure_runtime(layout: Layout, version: str, steps: Progress) -> Runtime:
    """The version's own runtime, made if it isn't there. Raises Permanent: it can't be made."""
    python, path = await asyncio.to_thread(choose_python, versions.get(version), as_other_user=os.geteuid() == 0)
    key = runtime_key(version, python)
    step = f"Airflow {version}"
    with timed(steps, step):
        whole = is_ready(layout, key) and await asyncio.to_thread(inventory.damage, layout, key) is None
        if not whole:
            await _build(layout, version, path, steps, step)
    return Runtime(key, version, python)


async def _build(layout: Layout, version: str, python: str, steps: Progress, step: str) -> None:
    """Run the job until Airflow can start; what it would go on to compile can wait for an environment."""
    job = await asyncio.create_subprocess_exec(
        *build.argv(layout, version, python),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert job.stdout is not None  # noqa: S101  PIPE was asked for
    assert job.stderr is not None  # noqa: S101
    try:
        async for line in job.stdout:
            found = progress.parse(line.decode(errors="replace"))
            if found and found.phase == "ready":
                return
            if found:
                steps.said(step, found.text)
        said = (await job.stderr.read()).decode(errors="replace").strip().splitlines()
        raise Permanent(said[-1] if said else f"{step} can't be made.", "\n".join(said[:-1]))
    finally:
        if job.returncode is None:
            os.killpg(job.pid, signal.SIGKILL)  # with what it compiles by; safe at any moment
        await job.communicate()


@contextmanager
def unpacked(plugins: Path | None, dags: Path | None) -> Iterator[dict[str, Path]]:
    """Where MWAA's folders for plugins and DAGs are here, while the block runs."""
    folders = {DAGS: dags.absolute()} if dags else {}
    if plugins is None:
        yield folders
        return
    with TemporaryDirectory(prefix="aerodrome-plugins-") as name:
        Path(name).chmod(0o755)
        yield folders | {PLUGINS: unpack(plugins, Path(name), plugins.name).path}


def read_requirements(file: Path, version: str, python: str, folders: dict[str, Path]) -> Requirements:
    """Read the file and say what a person should know of it."""
    wanted = parse(file.read_bytes(), {}, opener(version, python, folders), file.name)
    for note in wanted.notes:
        out.print(note, style="yellow", markup=False)
    return wanted

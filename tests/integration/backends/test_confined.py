"""Confined components of the local backend: what they find where, and commands and scripts beside them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from aerodrome.backends import confinement, directories, users
from aerodrome.content import startup
from aerodrome.content.startup import Script
from aerodrome.domain.component import ComponentKind, Phase
from aerodrome.domain.versions import DEFAULT_VERSION, get
from aerodrome.runtimes.key import choose_python
from aerodrome.supervision import sandbox
from aerodrome_airflow import forks
from support.backend_contract import is_gone, is_in
from support.supervised import alive, processes_of, read, until
from support.warm import PROGRAM

from .conftest import LocalHarness

WORKER, JOB = ComponentKind.WORKER, ComponentKind.JOB
pytestmark = pytest.mark.skipif(sandbox.obstacle() is not None, reason=f"no sandbox here: {sandbox.obstacle()}")


def _open_to_all(folder: Path) -> None:
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)


async def test_mwaas_paths_lead_to_the_environments_folders(harness: LocalHarness) -> None:
    layout, plugins = harness.layout, "0123"
    reads = harness.component(
        "reads",
        "tool",
        JOB,
        confined=True,
        command=("reads", *(f"/usr/local/airflow/{name}" for name in ("dags/dag.py", "plugins/plugin.py", "logs/log"))),
        templates={"AIRFLOW__CORE__PLUGINS_FOLDER": f"{{plugins}}/{plugins}"},
    )
    await harness.backend.exec(harness.one, reads)  # makes the folders
    for folder, name in ((layout.dags(harness.one), "dag.py"), (layout.plugins(harness.one) / plugins, "plugin.py")):
        folder.mkdir(parents=True)
        (folder / name).write_text(f"{name}\n")
        _open_to_all(layout.content(harness.one))
    log = layout.logs(harness.one) / "log"
    log.write_text("log\n")
    log.chmod(0o644)
    output = await harness.backend.exec(harness.one, reads)
    assert output.stdout.decode() == "dag.py\nplugin.py\nlog\n", output
    # The folder of DAGs is exchanged for the next one while components run.
    looks = harness.component(
        "looks", "scheduler-1-abcd", confined=True, command=("looks", "/usr/local/airflow/dags/dag.py")
    )
    await harness.backend.ensure(harness.one, looks)
    seen = layout.airflow_home(harness.one) / "seen"
    await until(lambda: read(seen) == "dag.py\n")
    fresh = layout.content(harness.one) / "next"
    fresh.mkdir(mode=0o755)
    (fresh / "dag.py").write_text("exchanged\n")
    layout.dags(harness.one).rename(layout.content(harness.one) / "before")
    fresh.rename(layout.dags(harness.one))
    await until(lambda: read(seen) == "exchanged\n")


async def test_what_a_component_finds(harness: LocalHarness) -> None:
    shows = harness.component(
        "shows", "show", JOB, confined=True, templates={"AIRFLOW_HOME": "{home}", "LOGS": "{logs}"}
    )
    output = await harness.backend.exec(harness.one, shows)
    lines = output.stdout.decode().replace("\0", " ").splitlines()
    assert {"AIRFLOW_HOME=/usr/local/airflow", "HOME=/usr/local/airflow"} <= set(lines)
    assert f"LOGS={harness.layout.logs(harness.one)}" in lines, "Airflow's own paths are as before"


async def test_a_worker_drains_and_is_asked_once(harness: LocalHarness) -> None:
    component = harness.component("drains", "worker-1-abcd", WORKER, confined=True, grace=43200)
    await harness.backend.ensure(harness.one, component)
    await harness.until(harness.one, is_in(Phase.RUNNING, component.name))
    await until(lambda: "draining-ready" in _log(harness, component.name))
    for _ in range(3):
        await harness.backend.remove(harness.one, component.name)
    await harness.until(harness.one, is_gone(component.name))
    assert _log(harness, component.name).splitlines() == ["draining-ready", "signals: 1"]


def _log(harness: LocalHarness, name: str) -> str:
    return read(harness.layout.component_logs(harness.one) / f"{name}.log")


async def test_forced_it_is_gone_at_once_with_all_it_started(harness: LocalHarness) -> None:
    component = harness.component("forks", "worker-1-abcd", WORKER, confined=True, grace=43200)
    await harness.backend.ensure(harness.one, component)
    await until(lambda: bool(read(harness.layout.airflow_home(harness.one) / "orphan")))
    pids = processes_of(harness.layout)
    ours = [pid for pid in pids if f"{harness.one}.worker" in read(Path(f"/proc/{pid}/environ"))]
    assert ours
    await harness.backend.remove(harness.one, component.name, force=True)
    assert not any(alive(pid) for pid in ours)


async def test_commands_fork_a_confined_process(harness: LocalHarness) -> None:
    programs = harness.layout.runtime("r1") / "bin"
    shutil.copytree(Path(forks.__file__).parent, programs / "aerodrome_airflow")
    shutil.copy2(PROGRAM, programs / "warm.py")
    interpreter = choose_python(get(DEFAULT_VERSION), as_other_user=True)[1]
    (programs / "python").write_text(
        f"#!/bin/sh\nexport PYTHONPATH={programs}\n"
        f'[ "$3" != aerodrome_airflow.warm ] || exec {interpreter} {programs}/warm.py\necho cold\n'
    )
    (programs / "python").chmod(0o755)
    _open_to_all(programs)
    tool = harness.component("ignored", "tool", JOB, confined=True)
    shows = "import os; print(os.environ['HOME'], sorted(int(p) for p in os.listdir('/proc') if p.isdigit())[:2])"
    for _ in range(2):
        output = await harness.backend.airflow(harness.one, tool, [shows])
        assert (output.exit_code, output.stdout.decode()) == (0, "/usr/local/airflow [1, 2]\n"), output
    harness.layout.secrets.chmod(0o755)
    (harness.layout.secrets / "secret").write_text("s3cr3t")
    reads = f"print(open({str(harness.layout.secrets / 'secret')!r}).read())"
    output = await harness.backend.airflow(harness.one, tool, [reads])
    assert output.exit_code != 0
    assert b"s3cr3t" not in output.stdout
    warm = [pid for pid in processes_of(harness.layout) if "warm.py" in read(Path(f"/proc/{pid}/cmdline"))]
    assert warm
    await harness.backend.forget(harness.one)
    await until(lambda: not any(alive(pid) for pid in warm))


async def test_a_startup_script_is_confined(harness: LocalHarness, tmp_path: Path) -> None:
    layout = harness.layout
    user = users.ensure(layout, harness.installation_id, harness.one)
    directories.prepare(layout, harness.one, user)
    layout.secrets.chmod(0o755)
    (layout.secrets / "secret").write_text("s3cr3t")
    path = layout.content(harness.one) / "startup.sh"
    path.write_text(
        f"export STOLEN=$(cat {layout.secrets}/secret) FOUND=$(cat /usr/local/airflow/dags/dag.py) WHO=$$\n"
        "echo here >/usr/local/airflow/written\n"
    )
    layout.dags(harness.one).mkdir()
    (layout.dags(harness.one) / "dag.py").write_text("found")
    _open_to_all(layout.content(harness.one))
    script = Script(
        path=path, directory=layout.airflow_home(harness.one), log=tmp_path / "log", uid=user.uid, gid=user.gid
    )
    box = confinement.sandbox(layout, harness.one, layout.runtime("r1"), None)
    found = await startup.run(replace(script, sandbox=box))
    assert dict(found.exports) == {"STOLEN": "", "FOUND": "found", "WHO": "2"}
    assert (await startup.run(script)).exports["STOLEN"] == "s3cr3t", "it proves nothing: nothing was there to steal"
    assert read(layout.airflow_home(harness.one) / "written") == "here\n"


async def test_what_lies_in_airflow_home_already_is_left_alone(harness: LocalHarness) -> None:
    user = users.ensure(harness.layout, harness.installation_id, harness.one)
    directories.prepare(harness.layout, harness.one, user)
    own = harness.layout.airflow_home(harness.one) / "dags"
    own.mkdir()
    for _ in range(2):
        confinement.sandbox(harness.layout, harness.one, harness.layout.runtime("r1"), None)
    assert not own.is_symlink()
    assert (own.parent / "logs").is_symlink()

"""`aerodrome requirements …` and `aerodrome startup test`, against a real runtime and without an environment."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.real_airflow import Runtime

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]


def run(runtime: Runtime, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aerodrome.cli", *words],
        env={**os.environ, "AERODROME_HOME": str(runtime.layout.home)},
        capture_output=True,
        text=True,
        check=False,
    )


def made_aside(runtime: Runtime) -> list[Path]:
    return list(runtime.layout.runtimes.glob(".*.new"))


def test_requirements_that_fit(runtime: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("cowsay==6.1\n")
    before = sorted(runtime.layout.runtimes.glob("[!.]*"))
    killed = runtime.layout.runtimes / f".{runtime.key[:-12]}000000000000.new"
    killed.mkdir()
    done = run(runtime, "requirements", "test", str(file))
    assert done.returncode == 0, done.stderr
    assert "names no constraints" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["  cowsay 6.1", "requirements.txt fits Airflow 3.3.1 on Python 3.11."]
    assert (made_aside(runtime), sorted(runtime.layout.runtimes.glob("[!.]*"))) == ([], before)


def test_requirements_that_airflow_has(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("requests\n")
    done = run(runtime, "requirements", "test", str(tmp_path / "requirements.txt"))
    assert done.returncode == 0, done.stderr
    assert "asks for nothing that Airflow 3.3.1 hasn't got" in done.stdout


def test_requirements_that_conflict(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("celery==4.4.7\n")
    done = run(runtime, "requirements", "test", str(tmp_path / "requirements.txt"))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("The requirements can't be installed beside Airflow 3.3.1: Because ")
    assert "Airflow 3.3.1 comes with celery==" in last


def test_what_is_packed_is_installed_without_the_registry(runtime: Runtime, tmp_path: Path) -> None:
    file, plugins, packed = tmp_path / "requirements.txt", tmp_path / "mine.zip", tmp_path / "packed"
    file.write_text("cowsay==6.1\nrapidfuzz==3.13.0\nrequests\n")
    with zipfile.ZipFile(plugins, "w") as archive:
        archive.writestr("hooks/mine.py", "x = 1\n")
    words = ["requirements", "package", str(file), "--to", str(packed), "--plugins", str(plugins)]
    done = run(runtime, *words, "--python", "3.11")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(packed / "plugins.zip") as archive:
        names = archive.namelist()
    assert names[0] == "cowsay-6.1-py3-none-any.whl"
    assert names[1] == "hooks/mine.py"
    assert names[2].startswith("rapidfuzz-3.13.0-cp311-cp311-manylinux")
    assert len(names) == 3, "what Airflow has is not packed"
    again = run(
        runtime, "requirements", "test", str(packed / "requirements.txt"), "--plugins", str(packed / "plugins.zip")
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-3:-1] == ["  cowsay 6.1", "  rapidfuzz 3.13.0"]
    other = run(runtime, *words, "--machine", "aarch64")
    assert other.returncode == 0, other.stderr
    assert "rapidfuzz-3.13.0-cp312-cp312-manylinux_2_17_aarch64.manylinux2014_aarch64.whl" in other.stdout
    assert not [path for path in packed.iterdir() if path.name.startswith(".")]


def test_a_startup_script(runtime: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "startup.sh"
    file.write_text(
        "export SECRET_ONE=hidden PYTHONPATH=/x\necho $MWAA_AIRFLOW_COMPONENT $AIRFLOW_VERSION $(id -u)\n"
        "python -c 'import airflow, sys; print(sys.prefix)'\n"
    )
    done = run(runtime, "startup", "test", str(file), "--component", "scheduler")
    assert done.returncode == 0, done.stderr
    user = 65534 if os.geteuid() == 0 else os.geteuid()
    assert f"scheduler 3.3.1 {user}\n{runtime.layout.runtime(runtime.key)}\n" in done.stdout
    assert "exports SECRET_ONE\n" in done.stdout
    assert "PYTHONPATH is set by the service" in done.stdout
    assert "hidden" not in done.stdout + done.stderr
    assert "startup.sh runs to its end." in done.stdout


def test_a_startup_script_that_fails(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "startup.sh").write_text("set -e\necho before\nfalse\n")
    done = run(runtime, "startup", "test", str(tmp_path / "startup.sh"))
    assert done.returncode == 1
    assert "before" in done.stdout
    last = "The startup script failed: it ended the shell that it is sourced by (`exit`, or an error under `set -e`)."
    assert done.stderr.strip().splitlines()[-1] == f"{last} Its last lines: before"

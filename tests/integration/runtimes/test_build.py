"""Real runtimes from the package registry, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from aerodrome.layout import Layout
from aerodrome.runtimes import build, progress, template
from aerodrome.runtimes.database import clone, database_url, drop, template_name
from aerodrome.runtimes.key import MARKER, is_ready
from support.real_airflow import USER, Runtime

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]
NOWHERE = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:1") | {"NO_PROXY": ""}


@pytest.fixture
def home(runtime: Runtime) -> Iterator[Layout]:
    """A second home; its packages are in the cache already."""
    folder = Path(tempfile.mkdtemp(prefix="aero-home-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "cache").symlink_to(runtime.layout.cache)
    yield Layout(folder)
    shutil.rmtree(folder)


def start(layout: Layout, python: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        build.argv(layout, "3.3.1", python),
        env={**os.environ, **variables},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_everybody_can_run_it_and_nobody_else_can_change_it(runtime: Runtime) -> None:
    program = runtime.layout.runtime(runtime.key) / "bin" / "python"
    command = [str(program), "-P", "-m", "aerodrome_airflow", "version"]
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        if USER:
            shutil.chown(folder, USER)
        done = subprocess.run(
            command,
            env={"AIRFLOW_HOME": folder, "HOME": folder},
            user=USER,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout.strip(), done.returncode) == ("3.3.1", 0), done.stderr
        assert not list(Path(folder).rglob("airflow.cfg"))
    for folder_name, folders, names in os.walk(runtime.layout.runtime(runtime.key)):
        for name in (*folders, *names):
            mode = os.lstat(os.path.join(folder_name, name))
            if not stat.S_ISLNK(mode.st_mode):
                assert mode.st_mode & 0o022 == 0, f"{folder_name}/{name} can be changed by others"
                assert mode.st_mode & stat.S_IROTH, f"{folder_name}/{name} can't be read by others"


def test_what_airflow_imports_is_compiled(runtime: Runtime) -> None:
    library = runtime.layout.runtime(runtime.key) / "lib"
    sources = set(library.rglob("airflow/**/*.py"))
    missing = [path for path in sources if not list((path.parent / "__pycache__").glob(f"{path.stem}.cpython-*.pyc"))]
    assert len(sources) > 1000
    assert missing == []


def test_without_network_the_cache_is_enough(runtime: Runtime, home: Layout) -> None:
    first, second = start(home, runtime.python, **NOWHERE), start(home, runtime.python, **NOWHERE)  # and two at once
    outputs = [process.communicate()[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert is_ready(home, runtime.key)
    steps = [[progress.parse(line) for line in output.splitlines()] for output in outputs]
    assert all(found is not None for lines in steps for found in lines)
    assert sorted(len(lines) == 1 for lines in steps) == [False, True]  # one built, the other found it built
    percents = [found.percent for found in max(steps, key=len) if found is not None]
    assert percents == sorted(percents)
    assert percents[-1] == 100


def test_without_network_and_cache_it_says_so(runtime: Runtime) -> None:
    with tempfile.TemporaryDirectory(prefix="aero-", dir="/tmp") as folder:
        process = start(Layout(Path(folder)), runtime.python, **NOWHERE)
        _, errors = process.communicate()
        assert process.returncode == 1
        last = errors.strip().splitlines()[-1]
        assert re.fullmatch(
            r"Airflow 3\.3\.1 was not installed: the package registry can't be reached, .*mirror.*", last
        )
        assert not is_ready(Layout(Path(folder)), runtime.key)


def test_what_was_killed_is_built_again(runtime: Runtime, home: Layout) -> None:
    process = start(home, runtime.python)
    assert process.stdout is not None
    for line in process.stdout:
        if "phase=compile" in line:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not is_ready(home, runtime.key)
    assert not home.runtime(runtime.key).exists(), "it is put in place when it is whole"
    left = home.runtimes / f".{runtime.key}.new" / "left-behind"
    left.touch()
    assert build.build(home, "3.3.1", runtime.python) == runtime.key
    assert not left.exists()
    assert is_ready(home, runtime.key)


def test_what_is_ready_is_not_touched(runtime: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    marker = runtime.layout.runtime(runtime.key) / MARKER
    before = marker.stat().st_mtime_ns
    started = time.monotonic()
    assert build.build(runtime.layout, "3.3.1", runtime.python) == runtime.key
    assert marker.stat().st_mtime_ns == before
    assert time.monotonic() - started < 5
    assert [progress.parse(line) is not None for line in capsys.readouterr().out.splitlines()] == [True]


def kill_a_template_job(runtime: Runtime, postgres_url: str) -> None:
    """Start the job, and kill it with all its children while Airflow makes its tables."""
    job = subprocess.Popen(
        template.argv(runtime.layout, runtime.key),
        env={**os.environ, template.URL_VARIABLE: postgres_url},
        text=True,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert job.stdout is not None
    assert any("phase=migrate" in line for line in job.stdout)
    with psycopg.connect(f"{postgres_url}/postgres", autocommit=True) as connection:
        name, deadline = template_name(runtime.key), time.monotonic() + 60
        while connection.execute("SELECT 1 FROM pg_stat_activity WHERE datname = %s", (name,)).fetchone() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()


async def test_a_template_that_was_killed_is_made_again(runtime: Runtime, postgres_url: str) -> None:
    await template.ensure(postgres_url, runtime.layout, runtime.key)
    with psycopg.connect(f"{postgres_url}/postgres", autocommit=True) as connection:  # forget that it is ready
        connection.execute(f"COMMENT ON DATABASE {template_name(runtime.key)} IS NULL".encode())
    await asyncio.to_thread(kill_a_template_job, runtime, postgres_url)
    assert not await template.is_ready(postgres_url, runtime.key)
    await template.ensure(postgres_url, runtime.layout, runtime.key)
    assert await template.is_ready(postgres_url, runtime.key)
    await clone(postgres_url, runtime.key, "cccccccccccc", "pw")
    with psycopg.connect(database_url(postgres_url, "cccccccccccc", "pw")) as connection:
        roles = connection.execute("SELECT name FROM ab_role ORDER BY name").fetchall()
    assert [name for (name,) in roles] == ["Admin", "Op", "Public", "User", "Viewer"]
    await drop(postgres_url, "cccccccccccc")

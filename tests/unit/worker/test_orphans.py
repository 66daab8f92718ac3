"""What a worker forks ends with it; what its tasks left running is found and ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aerodrome_airflow import orphans

# A worker that forks a child, which forks a task, which starts a command. Each writes down its pid, then all sleep.
TREE = """
import os, subprocess, sys, time
from aerodrome_airflow import orphans
orphans.tasks_need_their_worker = lambda: sys.argv[2] == "3"
orphans.bind_children()
def note(name, pid):
    with open(f"{sys.argv[1]}/.{name}", "w") as file:
        file.write(str(pid))
    os.rename(f"{sys.argv[1]}/.{name}", f"{sys.argv[1]}/{name}")
if os.fork() == 0:
    note("child", os.getpid())
    if os.fork() == 0:
        note("task", os.getpid())
        note("command", subprocess.Popen(["sleep", "60"]).pid)
        time.sleep(60)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def tree(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, int]:
    """Pids by name, after a `kill -9` of the worker; the parameter is the major version of Airflow."""
    source = Path(orphans.__file__).parents[1]
    environment = {"PYTHONPATH": str(source), "AERODROME_PROGRAM": f"{tmp_path}/worker"}
    worker = subprocess.Popen([sys.executable, "-c", TREE, str(tmp_path), str(request.param)], env=environment)
    names = ("child", "task", "command")
    until(lambda: all((tmp_path / name).exists() for name in names))
    worker.kill()
    worker.wait()
    return {name: int((tmp_path / name).read_text()) for name in names}


def end_strays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setenv("AERODROME_PROGRAM", f"{tmp_path}/worker")
    return orphans.end_strays()


@pytest.mark.parametrize("tree", [3], indirect=True)
def test_a_task_of_airflow_3_ends_with_its_worker(
    tree: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(lambda: not alive(tree["child"]) and not alive(tree["task"]))
    assert alive(tree["command"])
    assert end_strays(tmp_path, monkeypatch) == [tree["command"]]
    until(lambda: not alive(tree["command"]))


@pytest.mark.parametrize("tree", [2], indirect=True)
def test_a_task_of_airflow_2_works_on(tree: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    until(lambda: not alive(tree["child"]))
    assert alive(tree["task"])
    assert sorted(end_strays(tmp_path, monkeypatch)) == sorted([tree["task"], tree["command"]])
    until(lambda: not alive(tree["task"]))


def test_nobody_is_ended_who_descends_from_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen(["sleep", "60"], env={"AERODROME_PROGRAM": f"{tmp_path}/worker", "PATH": os.defpath})
    try:
        assert end_strays(tmp_path, monkeypatch) == []
        assert alive(child.pid)
    finally:
        child.kill()
        child.wait()


def test_without_a_marker_nobody_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AERODROME_PROGRAM", raising=False)
    assert orphans.end_strays() == []

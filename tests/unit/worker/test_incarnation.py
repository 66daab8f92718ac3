"""Which process of a worker is dead: only what is certain counts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from aerodrome_airflow import incarnation
from aerodrome_airflow.incarnation import Incarnation, is_ours_and_alive

# A worker in a namespace of its own, as far as another can tell; it has a child, and says who it is.
_OTHER = """
import os, sys
from aerodrome_airflow import incarnation
incarnation._machine = lambda: "a namespace of its own"
print(incarnation.Incarnation.ours("worker-2-abc"), flush=True)
if sys.argv[1:]:
    if not os.fork():  # as Celery's pool: it has what its parent has open
        print("has a child", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Incarnation]:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    incarnation._file.cache_clear()
    yield Incarnation.ours("worker-1-abc")
    if (file := incarnation._file()) is not None:
        os.close(file)
    incarnation._file.cache_clear()


@contextmanager
def other(*arguments: str) -> Iterator[tuple[Incarnation, subprocess.Popen[str]]]:
    words = [sys.executable, "-c", _OTHER, *arguments]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Incarnation.parse(process.stdout.readline().strip()), process
        process.kill()


def ended() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_it_is_written_and_read_back(ours: Incarnation) -> None:
    assert Incarnation.parse(str(ours)) == ours
    with pytest.raises(ValueError, match="not enough values"):
        Incarnation.parse("worker-1-abc")


def test_who_lives_is_not_dead(ours: Incarnation) -> None:
    assert not ours.is_dead(seen_by=replace(ours, component="worker-2-abc"))


def test_a_pid_that_was_given_to_somebody_else_is_dead(ours: Incarnation) -> None:
    assert replace(ours, start=ours.start - 1).is_dead(seen_by=ours)


def test_who_has_ended_is_dead(ours: Incarnation) -> None:
    assert replace(ours, pid=ended()).is_dead(seen_by=ours)


def test_on_another_boot_only_our_own_component_is_known_to_be_dead(ours: Incarnation) -> None:
    before = replace(ours, machine="another boot", locks="another boot")
    assert before.is_dead(seen_by=ours)
    assert not replace(before, component="worker-2-abc").is_dead(seen_by=ours)


def test_in_another_namespace_who_holds_its_lock_lives(ours: Incarnation) -> None:
    with other() as (somebody, process):
        assert not somebody.is_dead(seen_by=ours)
        process.kill()
        process.wait()
        assert somebody.is_dead(seen_by=ours)
        assert somebody.is_dead(seen_by=ours), "looking takes nothing"


def test_a_lock_outlives_nobody_in_its_children(ours: Incarnation) -> None:
    with other("child") as (somebody, process):
        assert process.stdout is not None
        assert process.stdout.readline() == "has a child\n"
        process.kill()
        process.wait()
        assert somebody.is_dead(seen_by=ours)


def test_two_may_look_at_once(ours: Incarnation, tmp_path: Path) -> None:
    with other() as (somebody, process), other() as (looks, _):
        process.kill()
        process.wait()
        assert looks.locks == ours.locks == somebody.locks != ""
        assert not looks.is_dead(seen_by=ours)
        assert somebody.is_dead(seen_by=ours)


def test_another_file_says_nothing(ours: Incarnation, tmp_path: Path) -> None:
    """A task removed it: the next worker's is another one."""
    (tmp_path / ".workers.lock").unlink()
    with other() as (somebody, process):
        process.kill()
        process.wait()
        assert not somebody.is_dead(seen_by=ours)


def test_without_a_file_to_lock_in_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "missing"))
    incarnation._file.cache_clear()
    assert Incarnation.ours("worker-1-abc").locks == ""
    incarnation._file.cache_clear()


def test_an_account_of_before_there_were_locks_is_read() -> None:
    assert Incarnation.parse("worker-1-abc|boot/1/2|3|4") == Incarnation("worker-1-abc", "boot/1/2", 3, 4)


def test_a_namespace_that_got_the_number_of_one_before_it_is_another_one(
    ours: Incarnation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel gives numbers of namespaces out again at once; its first process tells them apart."""
    monkeypatch.setattr(incarnation, "_start", lambda pid: 12345)
    assert Incarnation.ours(ours.component).machine != ours.machine


def test_processes_of_others_are_not_ours(ours: Incarnation) -> None:
    assert is_ours_and_alive(os.getpid())
    assert not is_ours_and_alive(ended())
    if os.geteuid() != 0:
        assert not is_ours_and_alive(1)

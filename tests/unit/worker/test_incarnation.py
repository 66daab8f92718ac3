"""Which process of a worker is dead: only what is certain counts."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from aerodrome_airflow import incarnation
from aerodrome_airflow.incarnation import Incarnation, is_ours_and_alive


@pytest.fixture
def ours() -> Incarnation:
    return Incarnation.ours("worker-1-abc")


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
    before = replace(ours, machine="another boot")
    assert before.is_dead(seen_by=ours)
    assert not replace(before, component="worker-2-abc").is_dead(seen_by=ours)


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

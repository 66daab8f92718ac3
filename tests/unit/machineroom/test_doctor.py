"""What `aerodrome doctor` finds, and what it makes of it."""

from __future__ import annotations

import json
import resource
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aerodrome.cli.main import app
from aerodrome.machineroom import doctor, ports
from aerodrome.machineroom.doctor import Finding, Ground, Verdict, examine
from aerodrome.supervision import rights, sandbox

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path / "not" / "yet", "auto")


def finding(ground: Ground, name: str) -> Finding:
    return next(each for each in examine(ground) if each.check == name)


@pytest.mark.parametrize(
    ("free", "verdict"), [(50 << 30, Verdict.OK), (5 << 30, Verdict.LESS), (1 << 30, Verdict.WRONG)]
)
def test_the_disk(ground: Ground, free: int, verdict: Verdict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free * 2, free, free))
    found = finding(ground, "disk")
    assert found.verdict is verdict
    assert bool(found.advice) is (verdict is not Verdict.OK)


def test_who_has_no_sandbox_is_told_what_to_do(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "PATH", "/nonexistent")
    found = finding(ground, "sandbox")
    assert found.verdict is Verdict.LESS
    assert "apt install bubblewrap" in found.advice
    assert finding(Ground(ground.home, "on"), "sandbox").verdict is Verdict.WRONG


def test_missing_tools_are_named(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "PATH", "/nonexistent")
    found = finding(ground, "tools")
    assert found.verdict is Verdict.WRONG
    assert "setpriv" in found.text


def test_few_open_files(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 1024))
    assert finding(ground, "open files").verdict is Verdict.LESS


def test_port_443(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "problem", lambda port, addresses: "needs privileges that this user doesn't have")
    assert finding(ground, "port 443").verdict is Verdict.LESS


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.OK, 0), (Verdict.LESS, 0), (Verdict.WRONG, 1)])
def test_the_command_fails_for_what_is_wrong_alone(
    verdict: Verdict, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AERODROME_HOME", str(tmp_path))
    found = [Finding("this", verdict, "is so", "do that")]
    monkeypatch.setattr("aerodrome.cli.doctor.examine", lambda ground: found)
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == code
    assert json.loads(done.stdout) == [{"check": "this", "verdict": verdict, "text": "is so", "advice": "do that"}]
    plain = CliRunner().invoke(app, ["doctor"])
    assert "do that" in plain.stdout


def test_it_leaves_nothing(ground: Ground) -> None:
    examine(ground)
    assert not ground.home.parent.exists()
    assert doctor.CHECKS

"""The guard's script: it runs the command when its parent dies, and only then."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aerodrome.layout import Layout
from aerodrome.machineroom import draining, guard


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.log.mkdir()
    layout.run.mkdir()
    return layout


@pytest.fixture
def asleep(layout: Layout) -> Iterator[subprocess.Popen[bytes]]:
    command = (
        "/bin/sh",
        "-c",
        'echo "$AERODROME_HOME $HANDED ${AERODROME_PROGRAM-none}" >"$0"',
        str(layout.home / "back"),
    )
    program = guard.program(layout, {"HANDED": "on", "AERODROME_PROGRAM": "guard", "PATH": "/usr/bin:/bin"}, command)
    process = subprocess.Popen(program.argv, env=dict(program.environment))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until(lambda: children.read_text() != "")  # it sleeps, so its traps are set
    yield process
    process.kill()
    process.wait()


def test_it_brings_everything_back(layout: Layout, asleep: subprocess.Popen[bytes]) -> None:
    asleep.send_signal(signal.SIGUSR1)
    assert asleep.wait(10) == 0
    until((layout.home / "back").exists)
    until(lambda: (layout.home / "back").read_text() == f"{layout.home} on none\n")
    assert "supervisor is gone" in (layout.log / "guard.log").read_text()


def test_not_when_a_down_is_at_work(layout: Layout, asleep: subprocess.Popen[bytes]) -> None:
    draining.begin(layout)
    asleep.send_signal(signal.SIGUSR1)
    assert asleep.wait(10) == 0
    assert not (layout.log / "guard.log").exists()


def test_not_when_it_is_stopped(layout: Layout, asleep: subprocess.Popen[bytes]) -> None:
    (sleeper,) = Path(f"/proc/{asleep.pid}/task/{asleep.pid}/children").read_text().split()
    asleep.terminate()
    assert asleep.wait(10) == 0
    until(lambda: ended(sleeper))
    assert not (layout.log / "guard.log").exists()

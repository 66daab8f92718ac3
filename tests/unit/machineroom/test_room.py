"""What `up` says when the supervisor can't take a program."""

from __future__ import annotations

from pathlib import Path

import pytest

from aerodrome.errors import Temporary
from aerodrome.layout import Layout
from aerodrome.machineroom import room
from aerodrome.supervision import Program, Supervisor


class Stopping(Supervisor):
    """A supervisor whose programs take so many looks to stop."""

    looks = 0

    async def put(self, program: Program) -> bool:
        self.looks -= 1
        if self.looks >= 0:
            raise Temporary(f"{program.name} is still stopping.", 0.005)
        return True


@pytest.fixture
def stopping(tmp_path: Path) -> Stopping:
    return Stopping(Layout(tmp_path), "password")


def program(tmp_path: Path) -> Program:
    return Program(name="valkey", argv=("/bin/true",), log_path=tmp_path / "valkey.log")


async def test_a_program_that_is_stopping_is_waited_for(stopping: Stopping, tmp_path: Path) -> None:
    stopping.looks = 3
    assert await room._when_stopped(stopping, program(tmp_path))
    assert stopping.looks == -1


async def test_one_that_never_stops_is_named(
    stopping: Stopping, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_PATIENCE", 0.05)
    stopping.looks = 1_000_000
    with pytest.raises(Temporary, match=r"valkey couldn't be started.*valkey is still stopping.*aerodrome down --now"):
        await room._when_stopped(stopping, program(tmp_path))

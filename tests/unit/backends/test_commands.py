"""Which warm process runs an environment's commands, and what happens where there is none."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aerodrome.backends.commands import WarmCommands
from aerodrome.backends.local import with_arguments
from aerodrome.domain.component import ComponentKind, Output
from aerodrome.errors import Temporary
from aerodrome.layout import Layout
from support.supervised import alive, until
from support.warm import command
from support.world import component


def test_arguments_of_the_command_line_are_never_in_argv() -> None:
    made = with_arguments(component("tool", ComponentKind.JOB), ("variables", "set", "password", "hunter2 {x} ä"))
    assert "hunter2" not in repr((made.command, made.variables, made.templates))
    assert "hunter2" in made.secrets["AERODROME_ARGUMENTS"]


WHO = "import os; print(open(f'/proc/{os.getppid()}/stat').read().rpartition(')')[2].split()[1])"  # keeper's parent
COLD = Output(0, b"cold\n", b"")


@pytest.fixture
async def commands(tmp_path: Path) -> AsyncIterator[WarmCommands]:
    made = WarmCommands(Layout(tmp_path))
    yield made
    await made.close()


async def never(left: float) -> Output:
    raise AssertionError("there was a warm process")


async def cold(left: float) -> Output:
    assert 0 < left <= 60
    return COLD


async def who(commands: WarmCommands, folder: Path, environment: str = "one", **variables: str) -> int:
    """The pid of the warm process that runs a command."""
    output = await commands.run(environment, command(folder, **variables), [WHO], never, 60.0)
    assert output.exit_code == 0, output
    return int(output.stdout)


async def test_one_process_per_environment_runs_all_commands(commands: WarmCommands, tmp_path: Path) -> None:
    found = await asyncio.gather(*(who(commands, tmp_path) for _ in range(8)))
    assert len(set(found)) == 1
    assert await who(commands, tmp_path) == found[0]
    other = await who(commands, tmp_path, "two")
    assert other != found[0]
    await commands.forget("one")
    assert [alive(found[0]), alive(other)] == [False, True]


async def test_another_configuration_is_another_process_and_commands_of_the_old_one_end_well(
    commands: WarmCommands, tmp_path: Path
) -> None:
    before = await who(commands, tmp_path, OPTION="old")
    waits = """
import os, time
while not os.path.exists(arguments[1]):
    time.sleep(0.01)
print(os.environ["OPTION"])"""
    arguments = [waits, str(tmp_path / "go")]
    running = asyncio.create_task(commands.run("one", command(tmp_path, OPTION="old"), arguments, never, 60.0))
    await asyncio.sleep(0)
    after = await who(commands, tmp_path, OPTION="new")
    assert after != before
    (tmp_path / "go").touch()
    assert await running == Output(0, b"old\n", b"")
    await until(lambda: not alive(before))
    assert await who(commands, tmp_path, OPTION="new") == after


async def test_it_is_let_go_when_nobody_needs_it_for_a_while(tmp_path: Path) -> None:
    commands = WarmCommands(Layout(tmp_path), idle=0.2)
    first = await who(commands, tmp_path)
    await until(lambda: not alive(first))
    assert await who(commands, tmp_path) != first
    await commands.close()


async def test_a_killed_one_is_replaced(commands: WarmCommands, tmp_path: Path) -> None:
    first = await who(commands, tmp_path)
    os.kill(first, signal.SIGKILL)
    assert await who(commands, tmp_path) != first


@pytest.mark.parametrize("behaviour", ["refuses", "crashes"])
async def test_where_there_can_be_none_each_command_is_a_start_of_its_own(
    commands: WarmCommands, tmp_path: Path, behaviour: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert await commands.run("one", command(tmp_path, WARM=behaviour), [WHO], cold, 60.0) == COLD
    # It was tried once. asyncio warns as well, where a process ended by itself just before it was to be killed.
    ours = [each for each in caplog.records if each.name.startswith("aerodrome")]
    (record,) = [each for each in ours if each.levelno == logging.WARNING]
    assert "every command starts Airflow anew" in record.getMessage()
    await who(commands, tmp_path)  # with another configuration it can be


async def test_a_start_that_takes_longer_than_the_command_may(commands: WarmCommands, tmp_path: Path) -> None:
    with pytest.raises(Temporary, match="still being imported"):
        await commands.run("one", command(tmp_path, WARM="hangs"), [WHO], cold, 1.2)


async def test_who_waits_for_the_start_gets_the_configuration_that_it_asked_for(
    commands: WarmCommands, tmp_path: Path
) -> None:
    async def told(option: str) -> str:
        asked = command(tmp_path, OPTION=option)
        says = ["import os; print(os.environ['OPTION'])"]
        return (await commands.run("one", asked, says, never, 60.0)).stdout.decode().strip()

    options = ["old", "old", "new", "new"]
    assert await asyncio.gather(*map(told, options)) == options

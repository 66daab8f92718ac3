"""A warm process and its commands, with everything but Airflow."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aerodrome.errors import Temporary
from aerodrome.layout import Layout
from aerodrome.supervision import Unavailable, WarmProcess
from support.supervised import alive, until
from support.warm import HANGS, LEAVES, command, pids

SHOWS = """
import json, os, random, signal, sys
from pathlib import Path
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps({
    "argv": Path("/proc/self/cmdline").read_text(),
    "arguments": arguments[1:],
    "blocked": int(status["SigBlk"], 16),
    "children": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
    "descriptors": len(os.listdir("/proc/self/fd")) - 1,
    "directory": os.getcwd(),
    "environment": dict(os.environ),
    "first environment": Path("/proc/self/environ").read_text(),
    "group": os.getpgid(0),
    "input": sys.stdin.read(),
    "pid": os.getpid(),
    "random": random.random(),
    "session": os.getsid(0),
    "umask": os.umask(0),
}))
os.chdir("/")
os.environ["LEFT"] = "behind"
"""


@pytest.fixture
async def warm(tmp_path: Path) -> AsyncIterator[WarmProcess]:
    process = await WarmProcess.start(Layout(tmp_path), command(tmp_path, GIVEN="a value"))
    yield process
    await process.end()


async def show(warm: WarmProcess, *arguments: str) -> dict[str, Any]:
    code, out, err = await warm.run([SHOWS, *arguments])
    assert (code, err) == (0, b"")
    return dict(json.loads(out))


async def test_output_and_exit_code_are_the_commands(warm: WarmProcess) -> None:
    said = 'import sys; print("out ä", end=""); print("err", end="", file=sys.stderr); sys.exit(3)'
    assert await warm.run([said]) == (3, "out ä".encode(), b"err")
    assert await warm.run(["import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]) == (139, b"", b"")
    code, out, err = await warm.run(["raise RuntimeError('no such DAG')"])
    assert (code, out) == (1, b"")
    assert err.endswith(b"RuntimeError: no such DAG\n")
    assert await warm.run(["import sys; sys.exit()"]) == (0, b"", b"")


async def test_a_command_finds_what_a_fresh_start_would(warm: WarmProcess, tmp_path: Path) -> None:
    first, second = await show(warm), await show(warm)
    assert first["random"] != second["random"]
    for seen in (first, second):
        assert seen["pid"] == seen["session"] == seen["group"]
        assert (seen["directory"], seen["umask"], seen["input"]) == (str(tmp_path), 0o027, "")
        assert (seen["descriptors"], seen["blocked"], seen["children"]) == (3, 0, True)
        assert seen["environment"]["GIVEN"] == "a value"
        assert "LEFT" not in seen["environment"]


async def test_arguments_arrive_whole_and_show_nowhere(warm: WarmProcess) -> None:
    odd = ["", "a b", "hunter2 'ä\n\"$(id)", "x" * 300_000]
    seen = await show(warm, *odd)
    assert seen["arguments"] == odd
    assert "hunter2" not in seen["argv"] + seen["first environment"] + repr(seen["environment"])
    assert (await show(warm))["arguments"] == []


async def test_commands_at_the_same_time_have_each_their_own_output(warm: WarmProcess) -> None:
    say = "import time; print(arguments[1] * 50_000); time.sleep(0.1); print(arguments[1])"
    answers = await asyncio.gather(*(warm.run([say, letter]) for letter in "abcdefgh"))
    for letter, (code, out, err) in zip("abcdefgh", answers, strict=True):
        assert (code, out.decode(), err) == (0, f"{letter * 50_000}\n{letter}\n", b"")


async def test_of_too_much_output_the_first_part_is_kept(warm: WarmProcess) -> None:
    code, out, err = await warm.run(["print('x' * 100_000, end='')"], limit=70_000)
    assert (code, len(out)) == (0, 70_000)
    assert b"cut at 70000 bytes" in err


async def test_what_a_command_leaves_behind_ends_with_it(warm: WarmProcess, tmp_path: Path) -> None:
    assert (await warm.run([LEAVES, str(tmp_path / "pids")]))[0] == 0
    assert not alive(*await pids(tmp_path / "pids"))


async def test_a_command_that_takes_too_long_is_ended_with_all_it_started(warm: WarmProcess, tmp_path: Path) -> None:
    code = LEAVES + HANGS.replace("arguments[1]", "arguments[2]")
    with pytest.raises(Temporary, match=r"did not end within 2 s"):
        await warm.run([code, str(tmp_path / "stray"), str(tmp_path / "pids")], timeout=2)
    (stray,), (itself, _) = await pids(tmp_path / "stray"), await pids(tmp_path / "pids")
    assert [alive(stray), alive(itself)] == [False, False]
    assert await warm.run(["print(1)"]) == (0, b"1\n", b"")


async def test_nobody_waits_any_more(warm: WarmProcess, tmp_path: Path) -> None:
    running = asyncio.create_task(warm.run([HANGS, str(tmp_path / "pids")]))
    found = await pids(tmp_path / "pids")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not any(map(alive, found)))


async def test_a_killed_command(warm: WarmProcess, tmp_path: Path) -> None:
    running = asyncio.create_task(warm.run([HANGS, str(tmp_path / "pids")]))
    os.kill((await pids(tmp_path / "pids"))[0], signal.SIGKILL)
    assert await running == (137, b"", b"")


async def test_a_killed_keeper_takes_its_command_along(warm: WarmProcess, tmp_path: Path) -> None:
    """Also what the command started as programs of their own."""
    starts = f"""
import subprocess
subprocess.Popen(["sh", "-c", "echo $$ > {tmp_path}/child; exec sleep 1000"], start_new_session=True)
{HANGS}"""
    running = asyncio.create_task(warm.run([starts, str(tmp_path / "pids")]))
    found = [*await pids(tmp_path / "pids"), *await pids(tmp_path / "child")]
    os.kill(found[1], signal.SIGKILL)
    assert await running == (137, b"", b"")
    await until(lambda: not any(map(alive, found)))
    assert await warm.run(["print(1)"]) == (0, b"1\n", b"")


async def test_commands_outlive_a_killed_warm_process_and_the_next_one_is_told(tmp_path: Path) -> None:
    warm = await WarmProcess.start(Layout(tmp_path), command(tmp_path))
    waits = """
import os, time
with open(arguments[1], "w") as file:
    file.write("1\\n")
while not os.path.exists(arguments[2]):
    time.sleep(0.01)"""
    running = asyncio.create_task(warm.run([waits, str(tmp_path / "began"), str(tmp_path / "go")]))
    await pids(tmp_path / "began")
    os.kill(warm.pid, signal.SIGKILL)
    with pytest.raises(Unavailable):
        await warm.run(["print(1)"])
    (tmp_path / "go").touch()
    assert await running == (0, b"", b"")
    await warm.end()


async def test_a_warm_process_that_hangs_is_killed_and_has_not_begun(tmp_path: Path) -> None:
    warm = await WarmProcess.start(Layout(tmp_path), command(tmp_path))
    os.kill(warm.pid, signal.SIGSTOP)
    with pytest.raises(Unavailable):
        await warm.run([HANGS, str(tmp_path / "pids")], timeout=0.5)
    assert not alive(warm.pid)
    assert not (tmp_path / "pids").exists()


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [("refuses", "a thread runs"), ("crashes", "RuntimeError: no such module"), ("hangs", r"not ready within 1 s")],
)
async def test_one_that_is_no_good(tmp_path: Path, behaviour: str, why: str) -> None:
    with pytest.raises(Unavailable, match=why):
        await WarmProcess.start(Layout(tmp_path), command(tmp_path, WARM=behaviour), patience=1)


async def test_nothing_outlives_us(tmp_path: Path) -> None:
    """As when the control plane is killed: warm process, keeper, command and what it started."""
    us = f"""
import asyncio
from pathlib import Path
from aerodrome.layout import Layout
from aerodrome.supervision import WarmProcess
from support.warm import HANGS, LEAVES, command

async def main():
    warm = await WarmProcess.start(Layout(Path({str(tmp_path)!r})), command(Path({str(tmp_path)!r})))
    Path({str(tmp_path / "warm")!r}).write_text(f"{{warm.pid}}\\n")
    await warm.run([LEAVES + HANGS.replace("[1]", "[2]"), {str(tmp_path / "stray")!r}, {str(tmp_path / "pids")!r}])

asyncio.run(main())
"""
    tests = str(Path(__file__).parents[2])
    ours = await asyncio.create_subprocess_exec(sys.executable, "-c", us, env={**os.environ, "PYTHONPATH": tests})
    found = [pid for name in ("warm", "stray", "pids") for pid in await pids(tmp_path / name)]
    assert all(map(alive, found))
    ours.kill()
    await ours.wait()
    await until(lambda: not any(map(alive, found)))

"""Startup scripts under a real bash."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerodrome.content.startup import Script, Startup, last_lines, read_capture, run
from aerodrome.errors import Permanent
from aerodrome.supervision import processes


@pytest.fixture
def script(tmp_path: Path) -> Script:
    path = tmp_path / "startup.sh"
    given = {
        "AIRFLOW_HOME": "/home",
        "MWAA_AIRFLOW_COMPONENT": "worker",
        "GIVEN": "as it is",
        "AWS_REGION": "eu-west-1",
    }
    return Script(path=path, directory=tmp_path, log=tmp_path / "startup.log", environment=given)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that others can enter, other than pytest's."""
    path = Path(tempfile.mkdtemp(prefix="aero-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


async def ran(script: Script, text: str, timeout: float = 60) -> Startup:
    script.path.write_text(text)
    return await run(script, timeout=timeout)


async def test_what_it_exports_is_found(script: Script) -> None:
    found = await ran(script, "export ONE=1 TWO='two words'\nTHREE=3\nexport PATH=/opt/bin:$PATH\n")
    assert found.exports == {"ONE": "1", "TWO": "two words", "PATH": f"/opt/bin:{found.exports['PATH'][9:]}"}
    assert (found.ignored, found.status) == ((), 0)


@pytest.mark.parametrize("value", ["a\nb", "=", "", "ü🛫", "$HOME `x` \"'", "\\0", "x" * 100_000])
async def test_any_value(script: Script, value: str) -> None:
    quoted = value.replace("'", "'\\''")
    assert (await ran(script, f"export V='{quoted}'\n")).exports == {"V": value}


async def test_bytes_that_are_no_text(script: Script) -> None:
    found = await ran(script, "export V=$'\\xff\\xfe'\n")
    assert os.fsencode(found.exports["V"]) == b"\xff\xfe"


async def test_what_it_sees(script: Script) -> None:
    await ran(
        script, 'echo "$MWAA_AIRFLOW_COMPONENT:$GIVEN:$PWD"; env | grep -c . ; ls -l /proc/self/fd | grep -c memfd'
    )
    said = script.log.read_text().splitlines()
    assert said[0] == f"worker:as it is:{script.directory}"
    assert "PYTHONPATH" not in said[1]
    assert said[-1] == "0", "the variables' way back is closed to the script"


async def test_what_is_not_changed_is_no_export(script: Script) -> None:
    assert (await ran(script, "export GIVEN='as it is'\n:\n")).exports == {}
    assert (await ran(script, "export GIVEN=other\n")).exports == {"GIVEN": "other"}


async def test_protected_variables_are_told_and_ignored(script: Script) -> None:
    found = await ran(
        script,
        "export AIRFLOW_HOME=/x AIRFLOW__CORE__FERNET_KEY=x MWAA__X=1 PYTHONPATH=/x AERODROME_X=1 FINE=1\n"
        "export AIRFLOW__CORE__DEFAULT_TASK_RETRIES=3\nunset AWS_REGION GIVEN\n",
    )
    assert found.exports == {"FINE": "1", "AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "3"}
    assert found.ignored == (
        "AERODROME_X", "AIRFLOW_HOME", "AIRFLOW__CORE__FERNET_KEY", "AWS_REGION", "MWAA__X", "PYTHONPATH",
    )  # fmt: skip


async def test_functions_and_odd_names_are_no_variables(script: Script) -> None:
    found = await ran(script, "f() { :; }\nexport -f f\nenv 'a b=1' true\nexport UID\ncd /\n")
    assert found.exports == {}


async def test_it_is_sourced(script: Script) -> None:
    assert (await ran(script, "export A=1\nreturn 0\nexport B=1\n")).exports == {"A": "1"}


async def test_its_output_has_its_own_log(script: Script) -> None:
    await ran(script, "echo out; echo err >&2")
    assert script.log.read_text() == "out\nerr\n"
    assert script.log.stat().st_mode & 0o777 == 0o600
    await ran(script, "echo again")
    assert script.log.read_text() == "again\n"


async def test_the_status_of_its_last_command_is_told(script: Script) -> None:
    assert (await ran(script, "export A=1\n[ x = y ] && echo never\n")).status == 1


@pytest.mark.parametrize(
    "text", ["echo why; exit 1", "echo why; exit 0", "set -e; echo why; false; echo on", "echo why; exec true"]
)
async def test_a_script_that_fails_gives_its_last_lines(script: Script, text: str) -> None:
    with pytest.raises(Permanent, match=r"The startup script failed.* Its last lines: .*why") as failure:
        await ran(script, f"for i in $(seq 50); do echo line $i; done\n{text}\n")
    assert failure.value.detail.splitlines() == [*(f"line {number}" for number in range(32, 51)), "why"]


async def test_a_script_that_is_not_there(script: Script) -> None:
    with pytest.raises(Permanent, match=r"can't be read"):
        await run(script)


async def test_a_script_that_takes_too_long_is_ended_with_all_it_started(script: Script) -> None:
    text = (
        "echo begun\n(trap '' TERM; setsid sleep 1000 & echo $! > child; wait) &\n"
        "while [ ! -s child ]; do :; done\nsleep 1000\n"
    )
    with pytest.raises(Permanent, match=r"did not end within 0\.0\d+ minutes, and was ended\. Its last lines: begun"):
        await ran(script, text, timeout=3)
    child = processes.look(int((script.directory / "child").read_text()))
    assert child is None or not child.lives


async def test_what_it_leaves_running_is_ended_and_holds_nobody_up(script: Script) -> None:
    found = await ran(script, "sleep 1000 &\necho $! > child\nexport A=1\n")
    assert found.exports == {"A": "1"}
    child = processes.look(int((script.directory / "child").read_text()))
    assert child is None or not child.lives


async def test_too_many_variables(script: Script) -> None:
    with pytest.raises(Permanent, match="more than 1024 KB"):
        await ran(script, 'export $(for i in $(seq 20); do printf "V$i=%0100000d " 0; done)\n')


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as somebody else")
async def test_it_runs_as_the_user(public: Path) -> None:
    script = Script(path=public / "startup.sh", directory=Path("/"), log=public / "log", uid=65534, gid=65534)
    found = await ran(script, "export WHO=$(id -u):$(id -g):$(id -G)\ncat /etc/shadow && export READ=1\n")
    assert found.exports == {"WHO": "65534:65534:65534"}


@pytest.mark.parametrize("captured", [b"", b"A=1\0", b"A=1\0=\0", b"A=1\0=\0x\0A=1\0", b"A=1\0=\0" + b"0\0"])
def test_half_a_capture_is_none(captured: bytes) -> None:
    assert read_capture(captured) is None


def test_last_lines_of_a_long_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 1_000_000 + b"\n\nlast\n")
    assert last_lines(tmp_path / "log")[-1] == "last"

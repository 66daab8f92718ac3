import asyncio
import errno
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aerodrome import settings
from aerodrome.cli import main
from aerodrome.cli.follow import follow
from aerodrome.cli.interrupts import Interrupted, Interrupts
from aerodrome.errors import Permanent
from aerodrome.machineroom import control, memory, prepare, shell
from aerodrome.machineroom.prepare import Wanted
from aerodrome.machineroom.status import CONNECTION
from support.homes import home_with_key

WANTED = Wanted(account="100000000001", region="us-east-1", web_host="address")


def run(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.defpath, "AERODROME_HOME": str(home), **variables}
    return subprocess.run(
        [sys.executable, "-c", "from aerodrome.cli.main import main; main()", *arguments],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def shell_says(script: str) -> str:
    return subprocess.run(
        ["/bin/sh", "-c", script], env={"AWS_PROFILE": "x"}, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("command", [("down",), ("down", "--now"), ("status",), ("shell-env",), ("purge", "--yes")])
def test_without_an_installation_a_command_says_what_to_do(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = run(tmp_path / "nothing", *command)
    assert done.returncode == 1
    assert done.stderr == f"There is no installation at {tmp_path / 'nothing'}. Run `aerodrome up` first.\n"
    assert not (tmp_path / "nothing").exists()


def test_the_command_starts_without_what_only_some_commands_need() -> None:
    heavy = "{'boto3', 'botocore.session', 'botocore.auth', 'psycopg', 'aerodrome.machineroom.room'}"
    code = f"import sys, aerodrome.cli.main; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "status", AERODROME_PORT="many")
    assert done.returncode == 2
    assert done.stderr.startswith("AERODROME_PORT: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_wrong_option_is_usage(tmp_path: Path) -> None:
    done = run(tmp_path, "down", "--soon")
    assert done.returncode == 2
    assert "--soon" in done.stderr


async def test_what_a_shell_needs(tmp_path: Path) -> None:
    layout = home_with_key(tmp_path / "it's a home")
    made = (await prepare.prepare(layout, WANTED)).installation
    done = await asyncio.to_thread(run, layout.home, "shell-env", "--json")
    values = json.loads(done.stdout)
    assert values == shell.variables(layout, made)
    assert values["AWS_ENDPOINT_URL"] == made.endpoint
    assert values["AWS_DISABLE_HOST_PREFIX_INJECTION"] == "true"
    assert {values[name] for name in values if "BUNDLE" in name or "CERT" in name} == {str(layout.ca_bundle)}
    assert sum("BUNDLE" in name or "CERT" in name for name in values) == 5
    script = (await asyncio.to_thread(run, layout.home, "shell-env", AERODROME_REGION="eu-west-1")).stdout
    shown = await asyncio.to_thread(shell_says, f"{script} env")
    assert f"AWS_CA_BUNDLE={layout.ca_bundle}" in shown
    assert "AWS_REGION=eu-west-1" in shown
    assert "AWS_PROFILE" not in shown
    assert shlex.quote(made.admin_secret_key) in script


def test_only_what_the_control_plane_needs_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AERODROME_BIND", "AWS_ENDPOINT_URL_S3", "UV_INDEX_URL", "https_proxy", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "kept")
    for name in ("AWS_ENDPOINT_URL", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "LD_PRELOAD_X"):
        monkeypatch.setenv(name, "dropped")
    found = settings.surroundings()
    assert "dropped" not in found.values()
    assert list(found.values()).count("kept") == 5
    assert "PATH" in found


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "127.0.0.1,localhost,.localhost,::1"),
        ({"NO_PROXY": "corp, localhost"}, "corp,localhost,127.0.0.1,.localhost,::1"),
        ({"NO_PROXY": "*"}, "*"),
    ],
)
def test_a_proxy_is_never_asked_for_what_is_here(given: dict[str, str], expected: str) -> None:
    assert control.without_proxy_to_ourselves(given)["NO_PROXY"] == expected


async def test_the_control_plane_is_restarted_for_new_settings_not_for_another_path(tmp_path: Path) -> None:
    layout = home_with_key(tmp_path)
    layout.run.mkdir()
    made = (await prepare.prepare(layout, WANTED)).installation
    first = control.program(layout, made, {"PATH": "/bin", "AERODROME_STRICT": "1"})
    assert not control.is_as_recorded(layout, first)
    control.record(layout, first)
    assert control.is_as_recorded(layout, control.program(layout, made, {"PATH": "/x", "AERODROME_STRICT": "1"}))
    assert not control.is_as_recorded(layout, control.program(layout, made, {"PATH": "/bin"}))


async def test_a_log_is_followed_across_rotations(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text("before\n")
    written: asyncio.Queue[str] = asyncio.Queue()
    lives = True

    async def alive() -> bool:
        return lives

    task = asyncio.create_task(follow(path, written.put_nowait, alive))
    await asyncio.sleep(0)  # it has opened the file
    with path.open("a") as file:
        file.write("one\n")
    assert await written.get() == "one\n"
    path.rename(tmp_path / "server.log.1")
    path.write_text("two\n")
    assert await written.get() == "two\n"
    lives = False
    await task


async def test_a_signal_ends_the_work_in_order_and_the_next_one_what_follows() -> None:
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    with Interrupts() as interrupts:
        for name in ("first", "second"):
            with pytest.raises(Interrupted):
                await interrupts.during(work(name))
    assert ended == ["first", "second"]


async def test_the_failure_of_a_program_that_the_signal_ended_counts_as_the_signal() -> None:
    async def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.05)
        raise OSError("its program was interrupted")

    async def slow_to_give_up() -> None:
        try:
            await work()
        except asyncio.CancelledError:
            raise OSError("its program was interrupted") from None

    with Interrupts() as interrupts, pytest.raises(Interrupted):
        await interrupts.during(slow_to_give_up())


async def test_a_failure_without_a_signal_is_a_failure() -> None:
    async def work() -> None:
        raise OSError("full")

    with Interrupts() as interrupts, pytest.raises(OSError, match="full"):
        await interrupts.during(work())


async def test_work_that_is_not_interrupted_gives_its_result() -> None:
    async def work() -> int:
        return 3

    with Interrupts() as interrupts:
        assert await interrupts.during(work()) == 3


def test_memory_counts_what_a_process_started() -> None:
    child = "x = b'x' * 30_000_000; print(1, flush=True); input()"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        parent.stdout.readline()
        size = memory.proportional([parent.pid])[parent.pid]
        assert size is not None
        assert size > 30_000_000
    finally:
        parent.communicate(b"\n", timeout=20)


def test_memory_of_connections_is_told_apart_by_their_titles() -> None:
    titles = ("postgres: env_1a ", "postgres: env_1a ", "postgres: env_2b ", "postgres: aerodrome ")
    script = " ".join(f"(exec -a '{title}' sleep 60) &" for title in titles) + " echo; read -r _; kill $(jobs -p)"
    parent = subprocess.Popen(["bash", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        parent.stdout.readline()
        found: dict[str, tuple[int, int]] = {}
        while sum(count for count, _ in found.values()) < 3:  # until the shells are what they become
            time.sleep(0.01)
            found = memory.of_children(parent.pid, CONNECTION)
        assert {label: count for label, (count, _) in found.items()} == {"1a": 2, "2b": 1}
        assert all(size > 0 for _, size in found.values())
    finally:
        parent.communicate(b"\n", timeout=20)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/file"),
        shutil.Error([("a", "b", str(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a")))]),
        Permanent("It can't be installed.", detail="cause: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_line(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app() -> None:
        raise error

    monkeypatch.setenv("AERODROME_HOME", str(tmp_path))
    monkeypatch.setattr(main, "app", app)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # put back afterwards
    with pytest.raises(SystemExit) as ended:
        main.main()
    logging.captureWarnings(capture=False)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said == f"The disk is full. Free some space on the file system of {tmp_path} and run this command again.\n"

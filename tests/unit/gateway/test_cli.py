"""The CLI bridge, and which commands it runs."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerodrome.domain.component import Output
from aerodrome.errors import Permanent
from aerodrome.gateway.cli_bridge import parse
from aerodrome.gateway.cli_commands import ALLOWED, check
from aerodrome.gateway.ports import CliGrant, Limits


async def run(setup: Any, line: bytes, bearer: str = "cli", prefix: str = "/aws_mwaa", **more: Any) -> Any:
    setup.world.cli_tokens["cli"] = CliGrant("aaa", "user/ann")
    headers = [("Authorization", f"Bearer {bearer}"), ("Content-Type", "text/plain")]
    host = more.pop("host", setup.host)
    return await setup.client.call(host, prefix + "/cli", method="POST", headers=headers, body=line, **more)


@pytest.mark.parametrize("prefix", ["/aws_mwaa", "/pluginsv2/aws_mwaa"])
async def test_a_command_runs_and_its_output_comes_back_encoded(setup: Any, prefix: str) -> None:
    line = b"""dags trigger --conf '{"a": "b c; rm -rf $HOME `id`"}' "my dag" | cat"""
    answer = await run(setup, line, prefix=prefix)
    assert answer.status == 200
    assert answer.json() == {
        "stdout": base64.b64encode(b"out\n").decode(),
        "stderr": base64.b64encode(b"err\n").decode(),
    }
    argv = ["dags", "trigger", "--conf", '{"a": "b c; rm -rf $HOME `id`"}', "my dag", "|", "cat"]
    assert setup.world.commands == [("aaa", argv, 60.0)]
    assert (await run(setup, b"version")).status == 200  # a token is good for more than one command


async def test_a_failed_command_is_400_with_its_output(setup: Any) -> None:
    setup.world.output = Output(2, b"", b"no such dag")
    answer = await run(setup, b"dags trigger x")
    assert answer.status == 400
    assert base64.b64decode(answer.json()["stderr"]) == b"no such dag"


async def test_a_command_that_was_killed_says_so(setup: Any) -> None:
    setup.world.output = Output(137, b"", b"so far")
    answer = await run(setup, b"tasks test a b")
    assert answer.status == 400
    assert base64.b64decode(answer.json()["stderr"]).startswith(
        b"so far\n[Aerodrome: the command was ended by signal 9]"
    )


async def test_tokens_are_checked_before_anything_else(setup: Any) -> None:
    for token in ("wrong", "", "web"):
        answer = await run(setup, b"version", bearer=token)
        assert answer.status == 403
        assert "CreateCliToken" in answer.json()["message"]
    assert (await run(setup, b"version", host=setup.other_host)).status == 403
    setup.world.sign_in("good")
    assert (await setup.get("/aws_mwaa/cli", "good", method="POST", body=b"version")).status == 403
    assert setup.world.commands == []


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"users list", 400),
        (b"", 400),
        (b"   \n", 400),
        (b"dags trigger 'x", 400),
        (b"version \xff", 400),
        (b"version \x00", 400),
        (b"x" * (100 * 1024 + 1), 413),
    ],
)
async def test_lines_that_are_refused(setup: Any, line: bytes, status: int) -> None:
    answer = await run(setup, line)
    assert answer.status == status
    assert base64.b64decode(answer.json()["stderr"]).decode() == answer.json()["message"] != ""
    assert setup.world.commands == []


async def test_a_command_that_takes_too_long_is_504_and_one_that_cant_run_400(setup: Any) -> None:
    setup.world.output = TimeoutError()
    assert (await run(setup, b"version")).status == 504
    setup.world.output = Permanent("The environment is being deleted.")
    answer = await run(setup, b"version")
    assert (answer.status, answer.json()["message"]) == (400, "The environment is being deleted.")


async def started(setup: Any, number: int) -> None:
    async with asyncio.timeout(5):
        for _ in range(number):
            await setup.world.started.acquire()


async def test_four_commands_at_once_per_environment_and_more_wait_for_their_turn(setup: Any) -> None:
    setup.world.gate.clear()
    running = [asyncio.create_task(run(setup, b"version")) for _ in range(10)]
    await started(setup, 4)
    assert len(setup.world.commands) == 4
    setup.world.gate.set()
    assert [each.status for each in await asyncio.gather(*running)] == [200] * 10
    assert len(setup.world.commands) == 10


class TestFull:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(cli_commands=1, cli_wait=0.2)

    async def test_who_waits_too_long_is_told_when_to_come_again(self, setup: Any) -> None:
        setup.world.gate.clear()
        running = asyncio.create_task(run(setup, b"version"))
        await started(setup, 1)
        answer = await run(setup, b"version")
        assert (answer.status, answer.header("retry-after")) == (503, "5")
        assert "1 commands run in environment" in base64.b64decode(answer.json()["stderr"]).decode()
        setup.world.gate.set()
        assert (await running).status == 200
        assert (await run(setup, b"version")).status == 200


class TestWaiting:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(cli_commands=1)

    async def test_a_client_that_left_while_it_waited_runs_nothing(self, setup: Any) -> None:
        """It has sent the command again, perhaps: it must not run twice."""
        setup.world.gate.clear()
        first = asyncio.create_task(run(setup, b"version"))
        await started(setup, 1)
        line = b"dags trigger once"
        head = f"POST /aws_mwaa/cli HTTP/1.1\r\nHost: {setup.host}\r\nAuthorization: Bearer cli\r\n"
        _, writer = await setup.client.connect(setup.host)
        writer.write(f"{head}Content-Length: {len(line)}\r\n\r\n".encode() + line)
        async with asyncio.timeout(5):
            for _ in ("first", "this one"):
                await setup.world.checked.acquire()
            last = asyncio.create_task(run(setup, b"dags list"))
            await setup.world.checked.acquire()
            writer.close()
            await writer.wait_closed()  # the other side says goodbye too
        setup.world.gate.set()
        assert [(await each).status for each in (first, last)] == [200, 200]
        assert [argv for _, argv, _ in setup.world.commands] == [["version"], ["dags", "list"]]


async def test_get_is_not_allowed(setup: Any) -> None:
    assert (await setup.get("/aws_mwaa/cli")).status == 405


async def test_arguments_are_not_logged(setup: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await run(setup, b"variables set name s3cr3t")
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert "airflow variables set: exit code 0" in text
    assert "s3cr3t" not in text


@pytest.mark.parametrize(
    ("line", "major", "allowed"),
    [
        ("dags list -o json", 2, True),
        ("dags backfill x", 2, True),
        ("dags backfill x", 3, False),
        ("tasks run x", 2, True),
        ("tasks run x", 3, False),
        ("assets list", 3, True),
        ("assets list", 2, False),
        ("backfill create", 3, True),
        ("cheat-sheet", 3, True),
        ("version", 2, True),
        ("dags --help", 3, True),
        ("variables export /tmp/x", 3, False),
        ("connections list", 3, False),
        ("users create", 2, False),
        ("db reset -y", 3, False),
        ("db shell", 3, False),
        ("config get-value core fernet_key", 3, False),
        ("--help dags", 3, False),
        ("dags", 3, False),
        ("airflow dags list", 3, False),
        ("Dags list", 3, False),
        ("dags --verbose delete", 3, False),
        ("standalone", 3, False),
    ],
)
def test_the_allow_list(line: str, major: int, allowed: bool) -> None:
    refusal = check(line.split(), major)
    assert (refusal is None) is allowed
    assert allowed or len(refusal or "") > 20


@given(st.lists(st.text(), max_size=4), st.sampled_from([2, 3]))
def test_only_listed_pairs_pass(argv: list[str], major: int) -> None:
    if check(argv, major) is None:
        assert argv[0] in ALLOWED[major]
        assert not ALLOWED[major][argv[0]] or argv[1] in ALLOWED[major][argv[0]] | {"-h", "--help"}


@given(st.binary())
def test_any_line_is_parsed_or_refused(line: bytes) -> None:
    try:
        argv = parse(line)
    except ValueError:
        return
    assert all("\0" not in word for word in argv)

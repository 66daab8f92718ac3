"""Commands in forks of a warm process, beside the same ones in starts of Airflow of their own."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import shlex
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from aerodrome.domain import airflow_config, versions
from aerodrome.domain.component import ComponentKind
from aerodrome.supervision import Command, Unavailable, WarmProcess, run_once
from support.real_airflow import USER, Environment, Runtime
from support.supervised import alive, until
from support.warm import pids

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

DAG = """
import os, signal, subprocess, sys, time
from datetime import datetime
{imports}

with DAG("odd", schedule=None, start_date=datetime(2026, 1, 1), catchup=False):
    @task
    def says():
        print("first text")

    @task
    def exits():
        sys.exit(7)

    @task
    def dies():
        os.kill(os.getpid(), signal.SIGKILL)

    @task
    def spoils():
        os.umask(0); os.chdir("/"); signal.signal(signal.SIGTERM, signal.SIG_IGN); os.environ["AIRFLOW_HOME"] = "/"

    @task
    def closes():
        sys.stdout.close()

    @task
    def waits():
        # Tells the pid of a process that it starts, and goes on once there is a file.
        home = os.environ["HOME"]
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        with open(home + "/waits", "w") as file:
            file.write(f"{child.pid}\\n")
        while not os.path.exists(home + "/go"):
            time.sleep(0.1)
        print("went on")

    says(), exits(), dies(), spoils(), closes(), waits()
"""
IMPORTS = {2: "from airflow.decorators import task\nfrom airflow import DAG", 3: "from airflow.sdk import DAG, task"}

# What changes something does it for each SIDE. Groups run beside each other, since each cold start takes seconds.
GROUPS = """
version
providers list
db clean --clean-before-timestamp 2020-01-01 --dry-run --yes --tables log

dags list --output json
dags nonsense
dags trigger
dags trigger no-such-dag
dags trigger mapped --run-id SIDE WHEN --conf '{"a": "b c"}' --output json
dags trigger mapped --run-id SIDE
dags delete no-such-dag --yes

tasks test odd says 2026-01-01
tasks test odd exits 2026-01-02
tasks states-for-dag-run mapped no-such-run

tasks test odd spoils 2026-01-04
connections add SIDE --conn-uri postgres://u:hunter2@h/d
connections delete no-such-connection

variables set SIDE "hunter2 ä $(id)"
variables get SIDE
variables get no-such-variable
variables delete SIDE
"""
OF_ONE = {2: "\ndags report\n", 3: "\nassets list\nbackfill create\n"}
WHEN = {2: "--exec-date", 3: "--logical-date"}  # Airflow 2 has one run of a DAG in a second
DAYS = {"cold": "2026-01-01", "warm": "2026-01-02"}
# Warnings that Airflow's own modules give when they are imported: before the fork, so that no command repeats them.
WARNINGS = re.compile(
    r"^/\S+/site-packages/airflow/\S+:\d+ \w+Warning: [^\n]*\n?"
    r"|^\S+ \[warning *\][^[]*\[py\.warnings\] category=\w+ filename=\S+/site-packages/airflow/\S+ lineno=\d+\n?",
    re.MULTILINE,
)
# What differs between any two runs of a command, and widths that follow from it.
VARYING = (
    r"\d{8}T\d{6}",
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:?00|Z)?|\[\d{4}-\d\d-\d\d.*?\]",
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    r"\d+:\d\d:\d\d(\.\d+)?|\d+\.\d+(e-\d+)?",
    r"(?i)\b(pid|process)\b\W{0,3}\d+",
    r"0x[0-9a-f]+",
    r"(datetime\.datetime|DateTime)\([\d, ]+",
    r"[-=+ ]+",
)


Outcome = tuple[int, bytes, bytes]


def plain(outcome: Outcome, side: str) -> str:
    text = WARNINGS.sub("", show(outcome)).replace(side, "SIDE")
    for pattern in VARYING:
        text = re.sub(pattern, " ", text)
    return text


def show(outcome: Outcome) -> str:
    code, out, err = outcome
    return f"{code}\n{out.decode()}\n{err.decode()}"


@dataclass
class Sides:
    """The same command lines, cold and warm."""

    environment: Environment
    runtime: Runtime
    warm: WarmProcess

    async def cold(self, *arguments: str, timeout: float = 120) -> Outcome:
        given = {"AERODROME_ARGUMENTS": json.dumps(arguments)}
        made = tool(self.environment, self.runtime, versions.airflow_command(), given)
        return await run_once(self.runtime.layout, made, timeout=timeout)


def tool(environment: Environment, runtime: Runtime, command: tuple[str, ...], more: dict[str, str]) -> Command:
    """What the backend makes of the plan's tool."""
    made = airflow_config.build(environment.facts, ComponentKind.JOB)
    places = {name: str(environment.folder / name) for name in ("home", "dags", "plugins", "logs")}
    binaries = runtime.layout.runtime(runtime.key) / "bin"
    account = pwd.getpwnam(USER) if USER else None
    return Command(
        argv=(str(binaries / command[0]), *command[1:]),
        uid=account.pw_uid if account else None,
        gid=account.pw_gid if account else None,
        directory=environment.folder / "home",
        environment={
            **made.variables,
            **{name: text.format(**places) for name, text in made.templates.items()},
            **made.secrets,
            "PATH": f"{binaries}:/usr/bin:/bin",
            **more,
        },
        umask=0o077,
    )


@pytest.fixture(scope="module")
def runtime_of(runtimes: Callable[[str], Runtime], airflow: Environment) -> Runtime:
    return runtimes(airflow.facts.version.version)


@pytest.fixture
async def sides(airflow: Environment, runtime_of: Runtime) -> AsyncIterator[Sides]:
    made = tool(airflow, runtime_of, versions.warm_command(), {})
    warm = await WarmProcess.start(runtime_of.layout, made)
    yield Sides(airflow, runtime_of, warm)
    await warm.end()


@pytest.fixture
async def odd(sides: Sides) -> str:
    """The DAG of odd tasks, once Airflow knows it."""
    write(sides.environment)
    listed = b""
    async with asyncio.timeout(240):
        while not (b"odd" in listed and b"mapped" in listed):
            _, listed, _ = await sides.warm.run(["dags", "list"])
    return "odd"


def write(environment: Environment, says: str = "first text") -> None:
    path = environment.dags / "odd.py"
    path.write_text(DAG.replace("{imports}", IMPORTS[environment.facts.version.major]).replace("first text", says))
    path.chmod(0o644)


async def test_nothing_differs_from_a_start_of_airflow(sides: Sides, odd: str) -> None:
    differing = []
    major = sides.environment.facts.version.major

    def words(line: str, side: str) -> list[str]:
        return shlex.split(line.replace("SIDE", side).replace("WHEN", f"{WHEN[major]} {DAYS[side]}"))

    async def compare(lines: list[str]) -> None:
        for line in lines:
            cold = await sides.cold(*words(line, "cold"))
            warm = await sides.warm.run(words(line, "warm"))
            if plain(cold, "cold") != plain(warm, "warm"):
                differing.append(f"== {line}\n-- cold\n{show(cold)}\n-- warm\n{show(warm)}")

    groups = (GROUPS + OF_ONE[major]).split("\n\n")
    await asyncio.gather(*(compare(group.strip().splitlines()) for group in groups))
    assert not differing, "\n".join(differing)


async def test_a_changed_dag_file_is_read_anew(sides: Sides, odd: str) -> None:
    for text in ("a second text", "a third text"):
        write(sides.environment, text)
        _, out, err = await sides.warm.run(["tasks", "test", odd, "says", "2026-01-01"])
        assert text.encode() in out + err


async def test_a_task_that_kills_its_own_process(sides: Sides, odd: str) -> None:
    code, _, _ = await sides.warm.run(["tasks", "test", odd, "dies", "2026-01-05"])
    assert code == 128 + signal.SIGKILL
    assert (await sides.warm.run(["version"]))[0] == 0


async def test_a_task_that_closes_the_output(sides: Sides, odd: str) -> None:
    """Python itself doesn't mind, so the task has succeeded."""
    closes = ["tasks", "test", odd, "closes", "2026-01-06"]
    assert [(await side)[0] for side in (sides.cold(*closes), sides.warm.run(closes))] == [0, 0]


async def test_eight_at_once(sides: Sides) -> None:
    sets = [sides.warm.run(["variables", "set", f"at-once-{n}", f"value {n}"]) for n in range(8)]
    assert [code for code, _, _ in await asyncio.gather(*sets)] == [0] * 8
    gets = [sides.warm.run(["variables", "get", f"at-once-{n}"]) for n in range(8)]
    assert [out for _, out, _ in await asyncio.gather(*gets)] == [f"value {n}\n".encode() for n in range(8)]


async def test_a_task_goes_on_when_the_warm_process_is_killed_and_leaves_nothing_behind(sides: Sides, odd: str) -> None:
    home = sides.environment.folder / "home"
    waits = ["tasks", "test", odd, "waits", "2026-01-01"]
    running = asyncio.create_task(sides.warm.run(waits))
    (child,) = await pids(home / "waits", 60)
    os.kill(sides.warm.pid, signal.SIGKILL)
    with pytest.raises(Unavailable):
        await sides.warm.run(["version"])
    (home / "go").touch()
    code, out, err = await running
    assert code == 0, show((code, out, err))
    assert b"went on" in out + err
    assert not alive(child)


async def test_a_task_ends_with_all_it_started_when_nobody_waits_for_it(sides: Sides, odd: str) -> None:
    home = sides.environment.folder / "home"
    for name in ("waits", "go"):
        (home / name).unlink(missing_ok=True)
    running = asyncio.create_task(sides.warm.run(["tasks", "test", odd, "waits", "2026-01-01"]))
    (child,) = await pids(home / "waits", 60)
    running.cancel()
    await until(lambda: not alive(child))
    assert (await sides.warm.run(["version"]))[0] == 0


async def test_code_of_the_users_that_airflow_imports_at_its_start_is_not_kept(sides: Sides) -> None:
    """It may change at any time."""
    environment, runtime = sides.environment, sides.runtime
    plugins = environment.folder / "plugins" / "none"  # of an environment without a plugins.zip
    plugins.mkdir(mode=0o755)
    settings = plugins / "airflow_local_settings.py"
    settings.write_text("def task_policy(task): ...\n")
    settings.chmod(0o644)
    try:
        with pytest.raises(Unavailable, match="the environment's own airflow_local_settings"):
            await WarmProcess.start(runtime.layout, tool(environment, runtime, versions.warm_command(), {}))
    finally:
        shutil.rmtree(plugins)

"""What the local backend promises beyond the contract: processes, users, files, secrets."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from aerodrome.backends.local import LocalBackend
from aerodrome.domain.component import OPTIONS_KEY, Component, ComponentKind, Phase
from aerodrome.domain.versions import DEFAULT_VERSION, get
from aerodrome.errors import Permanent, Temporary
from aerodrome.runtimes.key import choose_python
from aerodrome.supervision import end_leftovers, leftovers
from aerodrome.vault import DataKey
from aerodrome_airflow import forks
from support.backend_contract import is_gone, is_in
from support.supervised import alive, processes_of, read, until
from support.warm import PROGRAM

from .conftest import LocalHarness

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users run components")
WORKER, WEB, JOB = ComponentKind.WORKER, ComponentKind.WEB_SERVER, ComponentKind.JOB


async def running(harness: LocalHarness, component: Component, environment: str = "") -> int:
    """Start it, wait until it runs, and return its pid."""
    environment = environment or harness.one
    await harness.backend.ensure(environment, component)
    await harness.until(environment, is_in(Phase.RUNNING, component.name))
    pid = (await harness.supervisor.states())[f"{environment}.{component.name}"].pid
    assert pid
    return pid


async def test_a_draining_component_gets_one_signal(harness: LocalHarness) -> None:
    component = harness.component("drains", "worker-1-abcd", WORKER)
    await running(harness, component)
    for _ in range(600):  # it may run and not have come to its first line yet
        if "draining-ready" in await harness.backend.logs(harness.one, component.name):
            break
        await asyncio.sleep(0.05)
    for _ in range(3):
        await harness.backend.remove(harness.one, component.name)
    await harness.until(harness.one, is_gone(component.name))
    assert (await harness.backend.logs(harness.one, component.name)).splitlines() == ["draining-ready", "signals: 1"]


async def test_force_ends_grandchildren_in_sessions_of_their_own(harness: LocalHarness) -> None:
    component = harness.component("forks", "worker-1-abcd", WORKER)
    await running(harness, component)
    home = harness.layout.airflow_home(harness.one)
    await until(lambda: bool(read(home / "grandchild") and read(home / "orphan")))
    pids = [int(read(home / name)) for name in ("grandchild", "orphan")]
    assert all(alive(pid) for pid in pids)
    await harness.backend.remove(harness.one, component.name, force=True)
    assert not any(alive(pid) for pid in pids)


async def test_tasks_of_a_draining_worker_outlive_its_main_process(harness: LocalHarness) -> None:
    """It is out of memory, say, that ends the main process: the tasks at work are none of our business."""
    component = harness.component("forks", "worker-1-abcd", WORKER)
    await running(harness, component)
    home = harness.layout.airflow_home(harness.one)
    await until(lambda: bool(read(home / "grandchild") and read(home / "orphan")))
    tasks = [int(read(home / name)) for name in ("grandchild", "orphan")]
    await harness.backend.remove(harness.one, component.name)
    for _ in range(8):
        await harness.until(harness.one, is_in(Phase.DRAINING, component.name))
        await asyncio.sleep(0.25)
        await harness.backend.remove(harness.one, component.name)
        assert all(alive(pid) for pid in tasks)
    for pid in tasks:
        os.kill(pid, signal.SIGKILL)
    await harness.until(harness.one, is_gone(component.name))


async def test_a_killed_component_is_started_again(harness: LocalHarness) -> None:
    component = harness.component("serves", "scheduler-1-abcd")
    pid = await running(harness, component)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not alive(pid))
    observed = await harness.until(
        harness.one,
        lambda seen: is_in(Phase.RUNNING, component.name)(seen) and "restarted 1" in seen[component.name].detail,
    )
    assert (await harness.supervisor.states())[f"{harness.one}.{component.name}"].pid != pid
    assert observed[component.name].phase is Phase.RUNNING


async def test_a_job_runs_once_even_across_supervisors(harness: LocalHarness) -> None:
    job = harness.component("succeeds", "migrate-abcd", JOB)
    await harness.backend.ensure(harness.one, job)
    await harness.until(harness.one, is_in(Phase.SUCCEEDED, job.name))
    os.kill(await harness.supervisor.pid(), signal.SIGKILL)
    await harness.supervisor.start_daemon()
    await harness.supervisor.start_waiting()
    await harness.backend.ensure(harness.one, job)
    await harness.until(harness.one, is_in(Phase.SUCCEEDED, job.name))
    assert read(harness.layout.airflow_home(harness.one) / "runs") == "run\n"


async def test_a_job_cut_off_by_a_crash_of_supervisord_runs_again(harness: LocalHarness) -> None:
    job = harness.component("hangs", "migrate-abcd", JOB)
    pid = await running(harness, job)
    os.kill(await harness.supervisor.pid(), signal.SIGKILL)
    await until(lambda: not alive(pid))
    await harness.supervisor.start_daemon()
    await harness.supervisor.start_waiting()
    observed = await harness.until(harness.one, is_in(Phase.RUNNING, job.name))
    assert observed[job.name].exit_code is None


async def test_a_killed_job_has_failed(harness: LocalHarness) -> None:
    job = harness.component("hangs", "migrate-abcd", JOB)
    os.kill(await running(harness, job), signal.SIGKILL)
    observed = await harness.until(harness.one, is_in(Phase.FAILED, job.name))
    assert "signal" in observed[job.name].detail


async def test_draining_outlives_a_crash_of_supervisord(harness: LocalHarness) -> None:
    """The worker finishes beside its successor, stays visible, and is cleared away when it is done."""
    component = harness.component("drains", "worker-1-abcd", WORKER, grace=43200)
    pid = await running(harness, component)
    os.kill(await harness.supervisor.pid(), signal.SIGKILL)
    with pytest.raises(Temporary):
        await harness.backend.observe(harness.one)
    assert [(left.pid, left.draining) for left in leftovers(harness.layout)] == [(pid, True)]
    assert [left.pid for left in await end_leftovers(harness.layout)] == [pid]
    await harness.supervisor.start_daemon()
    await harness.supervisor.start_waiting()
    old = f"{component.name}~{pid}"
    observed = await harness.until(harness.one, lambda seen: old in seen and component.name in seen)
    assert observed[old].phase is Phase.DRAINING
    await harness.backend.remove(harness.one, old)
    assert alive(pid)
    await harness.until(harness.one, is_gone(old))
    await harness.until(harness.one, is_in(Phase.RUNNING, component.name))
    assert leftovers(harness.layout) == []
    assert "signals: 1" not in await harness.backend.logs(
        harness.one, component.name
    )  # nobody read it: its log is gone


async def test_secrets_stay_in_the_environment(harness: LocalHarness) -> None:
    secret = "s3cr3t 'quoted'\n$HOME %(here)s \\ end"
    component = harness.component("serves", "scheduler-1-abcd", secrets={"SECRET": secret})
    pid = await running(harness, component)
    assert f"SECRET={secret}" in read(Path(f"/proc/{pid}/environ")).split("\0")
    for entry in os.listdir("/proc"):
        assert "s3cr3t" not in read(Path("/proc", entry, "cmdline")), f"process {entry}"
    for path in harness.layout.home.rglob("*"):
        assert not path.is_file() or "s3cr3t" not in path.read_text(errors="replace"), path


async def test_what_a_component_gets(harness: LocalHarness) -> None:
    component = harness.component(
        "shows",
        "show",
        variables={"LITERAL": "{name}"},
        templates={"URL": "http://{shared[webserver-1]}/{name}", "LOGS": "{logs}"},
    )
    output = await harness.backend.exec(harness.one, component)
    lines = output.stdout.decode().replace("\0", " ").splitlines()
    home = harness.layout.airflow_home(harness.one)
    assert lines[1:3] == ["0027", str(home)]
    assert {f"HOME={home}", "LANG=C.UTF-8", "SHARED=by all", "LITERAL={name}"} <= set(lines)
    assert f"LOGS={harness.layout.logs(harness.one)}" in lines
    address = next(line for line in lines if line.startswith("URL=")).removeprefix("URL=http://").split("/")[0]
    names = {line.partition("=")[0] for line in lines[3:] if line.partition("=")[0].isupper()}
    assert names == {
        *("HOME", "LANG", "LITERAL", "LOGNAME", "LOGS", "PATH", "PWD", "SHARED", "TMPDIR", "URL", "USER"),
        "AERODROME_PROGRAM",
    }
    web = harness.component("serves", "webserver-1-abcd", WEB)
    await running(harness, web)
    given = (await harness.backend.observe(harness.one))[web.name].addresses
    assert given.keys() == {"web"}
    assert given["web"] != address, "the shared port is the slot's, not the component's own"


async def test_a_users_preload_never_reaches_a_process_of_ours(harness: LocalHarness) -> None:
    """It would run code with our rights. The loader complains about the missing library wherever it is tried."""
    variables = {"LD_PRELOAD": "/nonexistent/evil.so"}
    output = await harness.backend.exec(harness.one, harness.component("echoes", "tool", variables=variables))
    complaints = output.stderr.decode().splitlines()
    assert complaints
    assert all("evil.so" in line for line in complaints)
    component = harness.component("serves", "scheduler-1-abcd", variables=variables)
    await running(harness, component)
    assert "setpriv" not in await harness.backend.logs(harness.one, component.name)
    assert "setpriv" not in output.stderr.decode()


@as_root
async def test_one_environment_cannot_read_another(harness: LocalHarness) -> None:
    for environment in (harness.one, harness.two):
        await running(harness, harness.component("succeeds", "serve", JOB, command=("serves",)), environment)
    users = [pwd.getpwnam(f"aero{harness.installation_id}-{own}") for own in (harness.one, harness.two)]
    assert users[0].pw_uid != users[1].pw_uid
    layout = harness.layout
    (layout.content(harness.one) / "dag.py").write_text("mine")
    secret = layout.logs(harness.one) / "task.log"
    secret.write_text("mine")
    os.chown(secret, users[0].pw_uid, users[0].pw_gid)
    record = next(iter((layout.run / "launch").glob(f"{harness.one}*.env")))

    async def can_read(environment: str, path: Path) -> bool:
        tool = harness.component("reads", "tool", command=("reads", str(path)))
        return (await harness.backend.exec(environment, tool)).exit_code == 0

    for path in (layout.content(harness.one) / "dag.py", secret):
        assert await can_read(harness.one, path)
        assert not await can_read(harness.two, path)
    assert not await can_read(harness.one, record)
    assert not await can_read(harness.one, layout.component_logs(harness.one) / "serve.log")


@pytest.fixture
def python(harness: LocalHarness) -> None:
    """A runtime whose warm process is the tests' own, and which says `cold` and the arguments otherwise."""
    programs = harness.layout.runtime("r1") / "bin"
    shutil.copytree(Path(forks.__file__).parent, programs / "aerodrome_airflow")
    shutil.copy2(PROGRAM, programs / "warm.py")
    for path in (programs / "aerodrome_airflow", programs / "warm.py"):
        subprocess.run(["chmod", "-R", "a+rX", path], check=True)
    interpreter = choose_python(get(DEFAULT_VERSION), as_other_user=True)[1]
    (programs / "python").write_text(
        f"#!/bin/sh\nexport PYTHONPATH={programs}\n"
        f'[ "$3" != aerodrome_airflow.warm ] || exec {interpreter} {programs}/warm.py\n'
        'echo cold "$AERODROME_ARGUMENTS"\n'
    )
    (programs / "python").chmod(0o755)


@pytest.mark.usefixtures("python")
async def test_commands_of_airflow_run_as_the_environments_user_in_forks_of_one_process(harness: LocalHarness) -> None:
    tool = harness.component("ignored", "tool", JOB, variables={"GIVEN": "a value"}, secrets={"KEY": "s3cr3t"})
    shows = "import os; print(os.getuid(), os.getcwd(), os.environ['GIVEN'], os.environ['KEY'], os.getppid())"
    seen = []
    for _ in range(2):
        output = await harness.backend.airflow(harness.one, tool, [shows])
        seen.append(output.stdout.decode().split())
        assert output.exit_code == 0, output
    home = harness.layout.airflow_home(harness.one)
    assert seen[0][:-1] == seen[1][:-1] == [str(home.stat().st_uid), str(home), "a", "value", "s3cr3t"]
    lines = {pid: read(Path(f"/proc/{pid}/cmdline")) for pid in processes_of(harness.layout)}
    warm = [pid for pid, line in lines.items() if "warm.py" in line]
    assert len(warm) == 1
    assert "s3cr3t" not in lines[warm[0]]
    await harness.backend.forget(harness.one)
    assert not alive(warm[0])


@pytest.mark.usefixtures("python")
async def test_where_airflow_cant_be_kept_warm_each_command_starts_it(harness: LocalHarness) -> None:
    tool = harness.component("ignored", "tool", JOB, variables={"WARM": "crashes"})
    output = await harness.backend.airflow(harness.one, tool, ["variables", "get", "ä"])
    assert (output.exit_code, output.stdout.decode()) == (0, 'cold ["variables", "get", "ä"]\n')


@as_root
async def test_forget_leaves_nothing(harness: LocalHarness) -> None:
    component = harness.component("forks", "scheduler-1-abcd")
    await running(harness, component)
    orphan = harness.layout.airflow_home(harness.one) / "orphan"
    await until(lambda: bool(read(orphan)))
    pid = int(read(orphan))
    await harness.backend.remove(harness.one, component.name)
    await harness.until(harness.one, is_gone(component.name))
    await harness.backend.forget(harness.one)
    await until(lambda: not alive(pid))
    with pytest.raises(KeyError):
        pwd.getpwnam(f"aero{harness.installation_id}-{harness.one}")
    assert not harness.layout.environment(harness.one).exists()
    assert harness.one not in read(harness.layout.environments / "ports.json")


async def test_a_stolen_port_is_chosen_anew(harness: LocalHarness) -> None:
    web = harness.component("serves", "webserver-1-abcd", WEB)
    await running(harness, web)
    before = (await harness.backend.observe(harness.one))[web.name].addresses["web"]
    await harness.backend.remove(harness.one, web.name, force=True)
    with socket.create_server(("127.0.0.1", int(before.rpartition(":")[2]))):
        await running(harness, web)
        assert (await harness.backend.observe(harness.one))[web.name].addresses["web"] != before


async def test_old_and_new_of_a_slot_have_ports_of_their_own_and_share_one(harness: LocalHarness) -> None:
    """Both listen on the shared one: who knows the slot's address finds whichever of them there is."""
    shared = {"templates": {"ADDRESS": "{port[tasks]}"}, "shared_port": "tasks"}
    old = harness.component("serves", "webserver-1-abcd", WEB, **shared)
    new = harness.component("serves", "webserver-1-ef01", WEB, **shared)
    pids = [await running(harness, old), await running(harness, new)]
    observed = await harness.backend.observe(harness.one)
    assert observed[old.name].addresses != observed[new.name].addresses
    asks = harness.component("shows", "show", templates={"URL": "{shared[webserver-1]}"})
    output = (await harness.backend.exec(harness.one, asks)).stdout.decode()
    port = next(line for line in output.splitlines() if line.startswith("URL=")).rpartition(":")[2]
    for pid in pids:
        assert f"ADDRESS={port}\0" in read(Path(f"/proc/{pid}/environ"))
    await harness.backend.remove(harness.one, old.name, force=True)
    await running(harness, old)
    again = await harness.backend.observe(harness.one)
    assert again[new.name].addresses == observed[new.name].addresses
    assert again[old.name].addresses != again[new.name].addresses


async def test_ports_survive_a_restart_of_the_control_plane(harness: LocalHarness) -> None:
    web = harness.component("serves", "webserver-1-abcd", WEB)
    await running(harness, web)
    again = LocalBackend(harness.layout, harness.supervisor, harness.installation_id)
    assert await again.observe(harness.one) == await harness.backend.observe(harness.one)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"runtime": "r2"}, "no runtime r2"),
        ({"runtime": "../r1"}, "can't be one"),
        ({"command": ("absent",)}, "no command 'absent'"),
        ({"command": ("../bin/serves",)}, "no command"),
        ({"command": ("serves", "{nonsense}")}, "{nonsense}"),
        ({"command": ("serves", "{port[web]}")}, "port"),
        ({"runtime": "", "command": ("serves",)}, "absolute path"),
        ({"variables": {"A-B": "1"}}, "A-B"),
        ({"variables": {"A": "\0"}}, "NUL"),
    ],
)
async def test_what_can_never_run_says_why(harness: LocalHarness, members: dict[str, object], words: str) -> None:
    component = harness.component("serves", "scheduler-1-abcd")
    values = {name: getattr(component, name) for name in Component.__dataclass_fields__} | members
    with pytest.raises(Permanent) as caught:
        await harness.backend.ensure(harness.one, Component(**values))
    assert words in str(caught.value)
    await running(harness, component)


async def test_a_job_of_the_control_plane_runs_as_we_are(harness: LocalHarness) -> None:
    job = harness.component("", "build-abcd", JOB, runtime="", command=("/usr/bin/id", "-u"))
    await harness.backend.ensure("runtimes", job)
    await harness.until("runtimes", is_in(Phase.SUCCEEDED, job.name))
    assert await harness.backend.logs("runtimes", job.name) == str(os.geteuid())
    await harness.backend.remove("runtimes", job.name)


async def test_exec_limits_its_output(harness: LocalHarness) -> None:
    output = await harness.backend.exec(harness.one, harness.component("floods", "tool"))
    assert len(output.stdout) == 10_000_000
    assert "end\n\n[Aerodrome: output was cut" in output.stderr.decode()


async def test_exec_ends_what_it_left_behind(harness: LocalHarness) -> None:
    tool = harness.component("forks", "tool")
    with pytest.raises(Temporary):
        await harness.backend.exec(harness.one, tool, timeout=1)
    orphan = int(read(harness.layout.airflow_home(harness.one) / "orphan"))
    assert not alive(orphan)


OPTIONS = {OPTIONS_KEY: base64.urlsafe_b64encode(b"o" * 32).decode()}


def unsealed(path: Path) -> object:
    """What a component finds in its file of options."""
    try:
        return json.loads(DataKey(b"o" * 32).open(path.read_bytes(), "options"))
    except (OSError, Permanent):
        return None


async def test_what_a_component_does_not_read_lies_in_a_file_of_its_own(harness: LocalHarness) -> None:
    """Its processes can read it, and nobody else; it goes when the component does."""
    component = harness.component(
        "looks", "worker-1-abcd", WORKER, command=("looks", "{options}"), unread={"A": "secret-1"}, secrets=OPTIONS
    )
    await running(harness, component)
    seen = harness.layout.airflow_home(harness.one) / "seen"
    await until(lambda: unsealed(seen) == {"A": "secret-1"})
    pid = (await harness.supervisor.states())[f"{harness.one}.{component.name}"].pid
    told = replace(component, unread={"A": "secret-2", "B": "new"})
    await harness.backend.tell(harness.one, [told])
    await until(lambda: unsealed(seen) == {"A": "secret-2", "B": "new"})
    assert (await harness.supervisor.states())[f"{harness.one}.{component.name}"].pid == pid
    path = harness.layout.options(harness.one) / f"{component.name}.sealed"
    assert not stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO
    assert not stat.S_IMODE(path.parent.stat().st_mode) & stat.S_IRWXO
    assert "secret-" not in "".join(read(each) for each in harness.layout.home.rglob("*") if each.is_file())
    await harness.backend.remove(harness.one, component.name, force=True)
    assert not path.exists()


async def test_the_next_control_plane_tells_only_what_is_news(harness: LocalHarness) -> None:
    component = harness.component("serves", "worker-1-abcd", WORKER, unread={"A": "1"}, secrets=OPTIONS)
    await running(harness, component)
    path = harness.layout.options(harness.one) / f"{component.name}.sealed"
    written = path.stat().st_ino
    again = LocalBackend(harness.layout, harness.supervisor, harness.installation_id)
    await again.tell(harness.one, [component])
    assert path.stat().st_ino == written
    path.unlink()
    await LocalBackend(harness.layout, harness.supervisor, harness.installation_id).tell(harness.one, [component])
    assert unsealed(path) == {"A": "1"}

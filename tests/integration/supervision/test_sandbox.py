"""Confined programs under a real supervisord: they are stopped, killed, drained and found as others are."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.supervision import (
    Command,
    Program,
    ProgramPhase,
    Sandbox,
    end_leftovers,
    leftovers,
    read_on,
    run_once,
    sandbox,
)
from support.supervised import alive, read, supervised_home, until

from .test_supervisor import Home, up

NOBODY = 65534 if os.geteuid() == 0 else None
POLITE = "trap 'echo TERM; exit 3' TERM; echo up; while :; do sleep 0.1 & wait $!; done"
STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.2; done"
# Ends when it is asked to, two seconds later, and says how often it was asked.
DRAINS = (
    "n=0; end=; trap 'n=$((n+1)); [ -n \"$end\" ] || end=$(($(date +%s) + 2))' TERM; echo up\n"
    "while :; do sleep 0.1 & wait $!\n"
    '[ -z "$end" ] || [ "$(date +%s)" -lt "$end" ] || { echo "asked: $n"; exit 0; }; done'
)
# A grandchild in a session of its own, without a parent, that ignores every polite signal.
FORKS = (
    "(setsid sh -c 'trap \"\" TERM; echo up; while :; do sleep 0.2; done' &); trap 'exit 0' TERM\n"
    "while :; do sleep 0.1 & wait $!; done"
)

needs_bwrap = pytest.mark.skipif(sandbox.obstacle() is not None, reason=f"no sandbox here: {sandbox.obstacle()}")
pytestmark = needs_bwrap


@pytest.fixture
async def home() -> AsyncIterator[Home]:
    async with supervised_home() as made:
        yield made


def directory(layout: Layout, name: str) -> Path:
    """One that belongs to the program's user."""
    path = layout.home / name
    path.mkdir(exist_ok=True)
    if NOBODY is not None:
        os.chown(path, NOBODY, NOBODY)
    return path


def confined(layout: Layout, **members: object) -> Sandbox:
    own = directory(layout, "own")
    given: dict[str, object] = {"home": own, "temporary": directory(layout, "tmp"), "hidden": (layout.home,)}
    return Sandbox(**(given | members))  # type: ignore[arg-type]


def program(layout: Layout, name: str, shell: str, **members: object) -> Program:
    given: dict[str, object] = {
        "argv": ("/bin/sh", "-c", shell),
        "log_path": layout.log / f"{name}.log",
        "stop_wait": 5,
        "uid": NOBODY,
        "gid": NOBODY,
        "sandbox": confined(layout),
    }
    return Program(name=name, **(given | members))  # type: ignore[arg-type]


def below(pid: int) -> list[int]:
    """All processes that descend from that one, itself included: the innermost last."""
    found = [pid]
    for each in found:
        found += [int(child) for child in read(Path(f"/proc/{each}/task/{each}/children")).split()]
    return found


async def stopped(home: Home, name: str, seconds: float = 10) -> None:
    await home[1].stop(name)
    assert not await home[1].wait_stopped([name], timeout=seconds)


async def test_sigterm_reaches_the_program_and_its_exit_code_comes_back(home: Home) -> None:
    layout, supervisor = home
    wanted = program(layout, "a", POLITE)
    pids = below(await up(home, wanted))
    assert len(pids) >= 4, "the script, bwrap twice, the program"
    await stopped(home, "a")
    assert read(wanted.log_path) == "up\nTERM\n"
    assert (await supervisor.states())["a"].exit == 3
    await until(lambda: not any(alive(pid) for pid in pids))


async def test_it_is_asked_once_however_often_we_ask(home: Home) -> None:
    wanted = program(home[0], "a", DRAINS, stop_wait=30)
    await up(home, wanted)
    for _ in range(3):
        await home[1].stop("a")
    assert not await home[1].wait_stopped(["a"], timeout=10)
    assert read(wanted.log_path) == "up\nasked: 1\n"


async def test_sigint_is_heard(home: Home) -> None:
    """A shell has its background children ignore it; Airflow 3 ends a task's process by it."""
    wanted = program(home[0], "a", "trap 'echo INT; exit 0' INT; echo up; kill -INT $$; sleep 0.2; echo deaf", job=True)
    assert await home[1].put(wanted)
    await until(lambda: len(read(wanted.log_path).splitlines()) > 1)
    assert read(wanted.log_path) == "up\nINT\n"


async def test_who_does_not_stop_in_time_is_killed_with_all_it_started(home: Home) -> None:
    pids = below(await up(home, program(home[0], "a", STUBBORN, stop_wait=1)))
    await stopped(home, "a")
    await until(lambda: not any(alive(pid) for pid in pids))


async def test_what_it_started_ends_with_it_in_whatever_session(home: Home) -> None:
    pid = await up(home, program(home[0], "a", FORKS))
    pids = below(pid)
    await stopped(home, "a")
    await until(lambda: not any(alive(each) for each in pids))


@pytest.mark.parametrize("which", [0, 1, 2, 3], ids=["script", "bwrap", "process 1", "program"])
async def test_whoever_of_them_is_killed_all_end_and_start_again(home: Home, which: int) -> None:
    layout, supervisor = home
    pids = below(await up(home, program(layout, "a", POLITE)))
    os.kill(pids[which], signal.SIGKILL)
    await until(lambda: not any(alive(pid) for pid in pids[:4]))

    def again() -> bool:
        return read(layout.log / "a.log").count("up") == 2

    await until(again)
    assert (await supervisor.states())["a"].pid not in pids


async def test_a_forced_kill_leaves_nothing(home: Home) -> None:
    pids = below(await up(home, program(home[0], "a", FORKS, stop_wait=43200)))
    await home[1].kill("a")
    assert not any(alive(pid) for pid in pids)


async def test_jobs_have_results(home: Home) -> None:
    layout, supervisor = home
    for name, shell, result in (("fine", "exit 0", 0), ("bad", "exit 7", 7), ("killed", "kill -9 $$", 137)):
        await supervisor.put(program(layout, name, shell, job=True))
        states = await supervisor.states()
        while states[name].phase.lives:
            states = await supervisor.states()
        assert states[name].result == result
        assert states[name].phase is ProgramPhase.EXITED


async def test_draining_outlives_a_crash_of_supervisord(home: Home) -> None:
    layout, supervisor = home
    wanted = program(layout, "a", DRAINS, stop_wait=43200)
    pid = await up(home, wanted)
    os.kill(await supervisor.pid(), signal.SIGKILL)
    await until(lambda: [left.pid for left in leftovers(layout)] == [pid])
    assert leftovers(layout)[0].draining
    read_on(layout)
    assert [left.pid for left in await end_leftovers(layout)] == [pid]
    await supervisor.start_daemon()
    await until(lambda: leftovers(layout) == [])
    assert "asked: 1" in read(wanted.log_path)
    assert not alive(pid)


async def test_what_does_not_drain_ends_with_supervisord(home: Home) -> None:
    pids = below(await up(home, program(home[0], "a", POLITE)))
    os.kill(await home[1].pid(), signal.SIGKILL)
    await until(lambda: not any(alive(pid) for pid in pids))


async def test_what_it_sees(home: Home) -> None:
    layout, _ = home
    secret = layout.home / "secret"
    secret.write_text("s3cr3t")
    secret.chmod(0o644)
    shown, plugins = directory(layout, "shown"), directory(layout, "plugins")
    (shown / "file").write_text("shown")
    (plugins / "plugin.py").write_text("plugin")
    shell = (
        'echo "$$"; ls /proc | grep -c "^[0-9]"; cat "$1/shown/file"; echo; cat "$1/secret"; ls "$1"; '
        'cat /run/airflow/plugins/plugin.py; echo; touch "$1/shown/new" || echo refused; '
        "touch /usr/new || echo refused; "
        "touch /new || echo refused; echo mine >/usr/local/airflow/file; cat /usr/local/airflow/file; "
        "touch /tmp/file /var/tmp/file /dev/shm/file && grep NoNewPrivs /proc/self/status; id -u; "
        "[ -e /root ] || [ -e /home ] || echo no homes; ls /usr/local/bin >/dev/null && echo local"
    )
    command = Command(
        argv=("/bin/sh", "-c", shell, "sh", str(layout.home)),
        uid=NOBODY,
        gid=NOBODY,
        sandbox=confined(layout, read=(shown,), plugins=plugins),
    )
    code, out, err = await run_once(layout, command)
    user = str(os.geteuid() if NOBODY is None else NOBODY)
    said = [line.replace("\t", " ") for line in out.decode().splitlines()]
    listed = ["own", "shown", "tmp"]
    assert said == [
        *("2", "4", "shown", *listed, "plugin", *["refused"] * 3, "mine", "NoNewPrivs: 1", user, "no homes", "local"),
    ], (out, err)
    assert code == 0
    assert "s3cr3t" not in out.decode()
    assert (layout.home / "own" / "file").read_text() == "mine\n"
    assert not (shown / "new").exists()


async def test_what_is_hidden_stays_hidden_within_what_is_shown(home: Home) -> None:
    """The installation below /opt, or beside a Python that lives in the same home."""
    layout, _ = home
    around, hidden = directory(layout, "around"), layout.home / "around" / "hidden"
    (around / "python").write_text("python")
    own = hidden / "environments" / "own"
    own.mkdir(parents=True)
    (hidden / "secret").write_text("s3cr3t")
    (own / "mine").write_text("mine")
    if NOBODY is not None:
        os.chown(own, NOBODY, NOBODY)
    box = Sandbox(home=own, temporary=directory(layout, "tmp"), read=(around,), hidden=(hidden,))
    shell = 'cat "$1/python" "$1/hidden/environments/own/mine"; ls "$1/hidden"; cat "$1/hidden/secret"'
    argv = ("/bin/sh", "-c", shell, "sh", str(around))
    _, out, err = await run_once(layout, Command(argv=argv, uid=NOBODY, gid=NOBODY, sandbox=box))
    assert out.decode() == "pythonmineenvironments\n", err
    _, out, _ = await run_once(layout, Command(argv=argv, uid=NOBODY, gid=NOBODY))
    assert "s3cr3t" in out.decode(), "it proves nothing: there was nothing to hide"


async def test_a_one_off_command_ends_with_all_it_started(home: Home) -> None:
    layout, _ = home
    shell = "(setsid sh -c 'echo $$ >/usr/local/airflow/started; sleep 1000' &) ; sleep 0.3; exit 5"
    command = Command(argv=("/bin/sh", "-c", shell), uid=NOBODY, gid=NOBODY, sandbox=confined(layout))
    code, _, _ = await run_once(layout, command)
    assert code == 5
    assert read(layout.home / "own" / "started").strip()
    await until(lambda: not [pid for pid in os.listdir("/proc") if _sleeps(pid)])


def _sleeps(pid: str) -> bool:
    return read(Path("/proc", pid, "cmdline")).split("\0")[:2] == ["sleep", "1000"]


async def test_a_link_of_its_users_leads_no_mount_astray(home: Home) -> None:
    """AIRFLOW_HOME is the user's: nothing is ever mounted below it."""
    own = directory(home[0], "own")
    for name in ("dags", "plugins", "logs"):
        (own / name).symlink_to("/oldroot/tmp/astray")
    words = confined(home[0], read=(Path("/etc"),), plugins=Path("/opt")).words(NOBODY)
    targets = {words[place + 2] for place, word in enumerate(words) if word.endswith(("bind", "bind-try"))}
    assert not [target for target in targets if Path(target).is_relative_to(own) and Path(target) != own]
    assert not [target for target in targets if target.startswith(f"{sandbox.AIRFLOW_HOME}/")]


async def test_only_term_is_handed_on(home: Home) -> None:
    with pytest.raises(Permanent, match="no other signal"):
        await home[1].put(program(home[0], "a", POLITE, stop_signal="INT"))


def test_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sandbox.decide("on") == (True, "")
    assert sandbox.decide("off")[0] is False
    monkeypatch.setattr(sandbox, "PATH", "/nonexistent")
    wanted, why = sandbox.decide("auto")
    assert not wanted
    assert "apt install bubblewrap" in why
    with pytest.raises(Permanent, match="apt install bubblewrap"):
        sandbox.decide("on")


def test_one_that_is_installed_and_does_not_work_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container, say: the program is there, and the kernel lets it do nothing."""
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sandbox, "PATH", str(tmp_path))
    why = sandbox.obstacle()
    assert why is not None
    assert "No permissions to create new namespace" in why
    fake.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n')
    why = sandbox.obstacle()
    assert why is not None, "what pretends and builds nothing is taken for a sandbox"

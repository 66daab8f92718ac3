from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aerodrome.errors import Permanent, Temporary
from aerodrome.layout import Layout
from aerodrome.supervision import Program, ProgramPhase, Supervisor, end_leftovers, leftovers, read_on
from aerodrome.supervision.files import Files
from support.supervised import PASSWORD, alive, processes_of, read, supervised_home, until

Home = tuple[Layout, Supervisor]
STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.2; done"
POLITE = "trap 'echo TERM; exit 0' TERM; trap 'echo INT; exit 0' INT; echo up; while :; do sleep 0.1 & wait $!; done"


@pytest.fixture
async def home() -> AsyncIterator[Home]:
    async with supervised_home() as made:
        yield made


def program(layout: Layout, name: str, shell: str, **members: object) -> Program:
    given: dict[str, object] = {
        "argv": ("/bin/sh", "-c", shell),
        "log_path": layout.log / f"{name}.log",
        "stop_wait": 5,
    }
    return Program(name=name, **(given | members))  # type: ignore[arg-type]


async def up(home: Home, wanted: Program) -> int:
    """Put it, wait until it has said "up", and return its pid."""
    assert await home[1].put(wanted)
    await until(lambda: "up" in read(wanted.log_path))
    pid = (await home[1].states())[wanted.name].pid
    assert pid
    return pid


def daemons(layout: Layout) -> list[int]:
    return [pid for pid in processes_of(layout) if "supervisord" in read(Path(f"/proc/{pid}/cmdline"))]


async def test_many_starts_make_one_daemon(home: Home) -> None:
    layout, supervisor = home
    await supervisor.shutdown()
    assert daemons(layout) == []
    many = [Supervisor(layout, PASSWORD) for _ in range(6)]
    await asyncio.gather(*(each.start_daemon() for each in many))
    assert daemons(layout) == [await supervisor.pid()]
    await supervisor.start_daemon()
    assert len(daemons(layout)) == 1


async def test_files_are_ours_alone(home: Home) -> None:
    layout, supervisor = home
    await up(home, program(layout, "a", POLITE))
    for path in (layout.supervisor_socket, layout.run / "supervisord.conf", *(layout.run / "launch").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert PASSWORD not in read(layout.run / "supervisord.conf")
    environment = read(Path(f"/proc/{await supervisor.pid()}/environ")).rstrip("\0").split("\0")
    assert [entry for entry in environment if not entry.startswith("LC_CTYPE=")] == ["LANG=C.UTF-8"]


async def test_another_password_is_refused(home: Home) -> None:
    with pytest.raises(Permanent, match="another password"):
        await Supervisor(home[0], "wrong").states()


async def test_a_socket_path_that_is_too_long(tmp_path: Path) -> None:
    layout = Layout(tmp_path / ("long" * 25))
    with pytest.raises(Permanent, match="shorter path"):
        await Supervisor(layout, PASSWORD).start_daemon()
    assert not layout.home.exists()


async def test_put_is_idempotent_and_replace_replaces(home: Home) -> None:
    layout, supervisor = home
    pid = await up(home, program(layout, "a", POLITE))
    assert await supervisor.put(program(layout, "a", POLITE))
    other = program(layout, "a", POLITE, environment={"MORE": "1"})
    assert not await supervisor.put(other)
    assert (await supervisor.states())["a"].pid == pid
    await supervisor.replace(other)
    assert await supervisor.put(other)
    assert not alive(pid)
    state = (await supervisor.states())["a"]
    assert state.phase.lives
    await supervisor.replace(other)
    assert (await supervisor.states())["a"].pid == state.pid


async def test_environment_arrives_byte_for_byte(home: Home) -> None:
    layout, _ = home
    odd = {
        "A": "line\nbreak\n",
        "B": 'it\'s "$HOME" `id` \\n %s %(here)s',
        "C": "",
        "IFS": ":",
        "PATH": "/bin",
        "D": "ü\t",
    }
    pid = await up(home, program(layout, "a", POLITE, environment=odd))
    got = dict(entry.partition("=")[::2] for entry in read(Path(f"/proc/{pid}/environ")).split("\0"))
    assert odd.items() <= got.items()


async def test_one_bad_program_harms_no_other(home: Home) -> None:
    layout, supervisor = home
    bad = {
        "no command": {"argv": ("/nonexistent/program",)},
        "may not execute": {"argv": ("/etc/passwd",)},
        "can't enter": {"directory": Path("/nonexistent")},
        "absolute path": {"argv": ("sh",)},
        "signal": {"stop_signal": "NONSENSE"},
        "must match": {"name": "a b"},
    }
    for words, members in bad.items():
        with pytest.raises(Permanent, match=words):
            await supervisor.put(program(layout, **({"name": "bad", "shell": POLITE} | members)))
    assert await supervisor.states() == {}
    await up(home, program(layout, "good", POLITE))


async def test_a_torn_file_harms_no_program(home: Home) -> None:
    layout, supervisor = home
    (layout.run / "conf.d" / "torn.ini").write_text("[program:torn]\nstdout_logf")
    gone = program(layout, "gone", POLITE, log_path=layout.log / "gone" / "a.log")
    await up(home, gone)
    gone.log_path.unlink()
    gone.log_path.parent.rmdir()
    await up(home, program(layout, "a", POLITE))
    os.kill(await supervisor.pid(), signal.SIGKILL)
    await supervisor.start_daemon()
    assert {"a", "gone"} <= set(await supervisor.states())


async def test_the_stop_signal_is_the_one_asked_for(home: Home) -> None:
    layout, supervisor = home
    wanted = program(layout, "a", POLITE, stop_signal="INT")
    await up(home, wanted)
    await supervisor.stop("a")
    assert await supervisor.wait_stopped(["a"], timeout=5) == set()
    assert read(wanted.log_path) == "up\nINT\n"
    await supervisor.discard("a")
    await supervisor.discard("a")
    assert await supervisor.states() == {}


async def test_a_start_that_was_killed_as_it_wrote_leaves_nothing(home: Home) -> None:
    layout, supervisor = home
    await up(home, program(layout, "a", POLITE))
    files = Files.of(layout)
    half = [path.with_name(".a.new") for path in (files.starts("a"), files.record("a"))]
    for path in half:
        path.write_text("1763841")
    await supervisor.stop("a")
    assert await supervisor.wait_stopped(["a"], timeout=5) == set()
    await supervisor.discard("a")
    assert not [path for path in layout.run.rglob("*") if "a" in path.name.split(".")]


async def test_what_was_stopped_stays_stopped(home: Home) -> None:
    layout, supervisor = home
    await up(home, program(layout, "a", POLITE))
    await up(home, program(layout, "b", POLITE))
    await supervisor.stop("a")
    await supervisor.wait_stopped(["a"], timeout=5)
    assert (await supervisor.states())["a"].leaving
    await supervisor.shutdown()
    await supervisor.start_daemon()
    states = await supervisor.states()
    assert states["b"].phase.lives
    assert (states["a"].phase, states["a"].leaving) == (ProgramPhase.STOPPED, True)
    assert await supervisor.put(program(layout, "a", POLITE))
    assert (await supervisor.states())["a"].phase.lives


async def test_what_waits_is_started_after_the_rest(home: Home) -> None:
    layout, supervisor = home
    waiting, stopped = program(layout, "a", POLITE, waits=True), program(layout, "b", POLITE, waits=True)
    for each in (waiting, stopped):
        assert await up(home, each)
    await supervisor.stop("b")
    await supervisor.wait_stopped(["b"], timeout=5)
    os.kill(await supervisor.pid(), signal.SIGKILL)
    await until(lambda: not daemons(layout))
    await end_leftovers(layout)
    await supervisor.start_daemon()
    assert not (await supervisor.states())["a"].phase.lives
    for _ in range(2):
        await supervisor.start_waiting()
        states = await supervisor.states()
        assert states["a"].phase.lives
        assert not states["b"].phase.lives
    os.kill(await supervisor.pid(), signal.SIGKILL)
    await until(lambda: not daemons(layout))
    await end_leftovers(layout)
    await supervisor.start_daemon()
    assert await supervisor.put(waiting)
    assert (await supervisor.states())["a"].phase.lives


async def test_what_was_started_this_moment_is_killed_too(home: Home) -> None:
    layout, supervisor = home
    for number in range(10):
        assert await supervisor.put(program(layout, f"a{number}", STUBBORN, stop_wait=60))
        await supervisor.kill(f"a{number}")
    assert await supervisor.states() == {}


async def test_what_was_started_this_moment_hears_the_stop_signal(home: Home) -> None:
    """Between fork and exec it would be supervisord's own handler that takes it."""
    layout, supervisor = home
    names = [f"a{number}" for number in range(10)]
    for name in names:
        assert await supervisor.put(program(layout, name, POLITE, stop_wait=3600))
        await supervisor.stop(name)
    assert await supervisor.wait_stopped(names, timeout=10) == set()


async def test_force_kills_what_ignores_signals(home: Home) -> None:
    layout, supervisor = home
    pid = await up(home, program(layout, "a", STUBBORN, stop_wait=1000))
    await supervisor.stop("a")
    with pytest.raises(Temporary, match="stopping"):
        await supervisor.put(program(layout, "a", STUBBORN, stop_wait=1000))
    with pytest.raises(Temporary, match="runs"):
        await supervisor.discard("a")
    await supervisor.kill("a")
    assert not alive(pid)
    assert await supervisor.states() == {}


async def test_death_of_supervisord_reaches_programs(home: Home) -> None:
    layout, supervisor = home
    polite = program(layout, "polite", POLITE, death_signal="INT")
    pid = await up(home, polite)
    stubborn = await up(home, program(layout, "stubborn", STUBBORN, stop_wait=1))
    assert leftovers(layout) == []
    os.kill(await supervisor.pid(), signal.SIGKILL)
    await until(lambda: not alive(pid))
    assert [(left.name, left.pid, left.draining) for left in leftovers(layout)] == [("stubborn", stubborn, False)]
    with pytest.raises(Temporary, match="isn't answering"):
        await supervisor.states()
    assert not await supervisor.alive()
    assert await end_leftovers(layout) == []
    assert not alive(stubborn)
    await supervisor.start_daemon()
    assert {name for name, state in (await supervisor.states()).items() if state.phase.lives} == {"polite", "stubborn"}


CHATTY = """
trap 'asked=1' TERM
echo up
while [ -z "$asked" ]; do sleep 0.1 & wait $!; done
for line in $(seq 3000); do printf '%060d\n' "$line" || exit 1; done
echo finished
"""


async def test_who_finishes_its_work_can_go_on_talking(home: Home) -> None:
    """After supervisord's death its pipe has no reader; it must neither break nor fill up, and nothing said is lost."""
    layout, supervisor = home
    wanted = program(layout, "worker", CHATTY, stop_wait=3600)
    pid = await up(home, wanted)
    daemon = await supervisor.pid()
    os.kill(daemon, signal.SIGKILL)
    await until(lambda: not alive(daemon))
    (left,) = await end_leftovers(layout)
    assert left.pid == pid
    read_on(layout)
    await until(lambda: not alive(pid))
    await until(lambda: "finished" in read(wanted.log_path))
    assert [int(line) for line in read(wanted.log_path).split() if line.isdigit()] == list(range(1, 3001))
    await until(lambda: not processes_of(layout))


async def test_shutdown_goes_from_the_top(home: Home) -> None:
    layout, supervisor = home
    shell = "trap 'sleep 0.3; date +%s%N >\"$WHEN\"; exit 0' TERM; echo up; while :; do sleep 0.1 & wait $!; done"
    for name, priority in (("first", 100), ("second", 500), ("third", 900)):
        stamp = {"WHEN": str(layout.home / name)}
        await up(home, program(layout, name, shell, priority=priority, environment=stamp))
    told: list[list[str]] = []
    await supervisor.shutdown(progress=told.append)
    assert daemons(layout) == []
    times = [int(read(layout.home / name)) for name in ("third", "second", "first")]
    assert times == sorted(times)
    await supervisor.shutdown()
    await supervisor.start_daemon()
    assert set(await supervisor.states()) == {"first", "second", "third"}


async def test_a_forced_shutdown_waits_for_nobody_but_the_machine_room(home: Home) -> None:
    layout, supervisor = home
    await up(home, program(layout, "worker", STUBBORN, stop_wait=1000, priority=900))
    room = program(layout, "postgres", POLITE, priority=100)
    await up(home, room)
    await supervisor.shutdown(force=True)
    assert read(room.log_path) == "up\nTERM\n"
    # The program that ended by itself leaves its `sleep 0.1` behind for that long.
    await until(lambda: processes_of(layout) == [])


async def test_a_job_that_is_stopped_passes_the_signal_on(home: Home) -> None:
    layout, supervisor = home
    job = program(
        layout, "job", "trap 'echo TERM; exit 4' TERM; echo up; while :; do sleep 0.1 & wait $!; done", job=True
    )
    await up(home, job)
    await supervisor.stop("job")
    assert await supervisor.wait_stopped(["job"], timeout=5) == set()
    assert read(job.log_path) == "up\nTERM\n"
    assert (await supervisor.states())["job"].result is None
    await until(lambda: processes_of(layout) == daemons(layout))


async def test_the_result_of_a_job_is_kept(home: Home) -> None:
    layout, supervisor = home
    jobs = [program(layout, f"job{code}", f"echo ran; exit {code}", job=True) for code in (0, 7)]
    assert await supervisor.put_many(jobs) == []
    for name, code in (("job0", 0), ("job7", 7)):
        await until(lambda name=name: bool(read(layout.run / "results" / name)))  # type: ignore[misc]
        assert (await supervisor.states())[name].result == code
    os.kill(await supervisor.pid(), signal.SIGKILL)
    await supervisor.start_daemon()
    assert await supervisor.put_many(jobs) == []
    await asyncio.sleep(0)
    states = await supervisor.states()
    assert [states[name].result for name in ("job0", "job7")] == [0, 7]
    assert [read(job.log_path) for job in jobs] == ["ran\n", "ran\n"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_a_program_of_another_user(home: Home) -> None:
    layout, supervisor = home
    layout.log.chmod(0o711)
    nobody = {"uid": 65534, "gid": 65534}
    pid = await up(home, program(layout, "a", POLITE, **nobody))
    fields = dict(line.split(":", 1) for line in read(Path(f"/proc/{pid}/status")).splitlines())
    assert fields["Uid"].split() == ["65534"] * 4
    assert fields["Gid"].split() == ["65534"] * 4
    assert fields["Groups"].split() in ([], ["65534"])
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["CapEff"].strip("0 \t") == ""
    with pytest.raises(Permanent, match="user 65534 can't enter"):
        await supervisor.put(program(layout, "b", POLITE, directory=layout.run / "launch", **nobody))
    os.kill(await supervisor.pid(), signal.SIGKILL)
    await until(lambda: not alive(pid))


async def test_nothing_is_started_for_a_dead_supervisord(home: Home) -> None:
    """A launch script whose supervisord died before it could ask for a death signal gives up."""
    layout, _ = home
    wanted = program(layout, "a", POLITE)
    await up(home, wanted)
    command = ["/usr/bin/env", "-i", "/bin/sh", str(layout.run / "launch" / "a.sh")]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False, timeout=10)
    assert done.returncode == 1
    assert b"process supervisor is gone" in done.stderr


async def test_supervisord_sleeps_whatever_its_descriptors_were_before(home: Home) -> None:
    """Numbers of closed descriptors are used again; one that is polled in vain would keep a core busy for ever."""
    layout, supervisor = home

    async def hammer() -> None:
        while True:
            await asyncio.gather(*(supervisor.states() for _ in range(6)))

    hammering = asyncio.create_task(hammer())
    for number in range(20):
        await supervisor.put(program(layout, f"sleeper{number}", "exec sleep 60"))
    hammering.cancel()
    await asyncio.gather(hammering, return_exceptions=True)
    stat = Path(f"/proc/{await supervisor.pid()}/stat")

    def ticks() -> int:
        return sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13]))

    before = ticks()
    await asyncio.sleep(3)
    assert ticks() - before < 60, "supervisord spins"

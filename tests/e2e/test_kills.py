"""`kill -9` of everything, one after the other, in the middle of runs of twenty tasks on real Airflow.

Every task writes a line per attempt, so that what happens twice is seen (support/kills_dag.py). The seconds that each
part may take to be well again are promises: docs/explanation/recovery.md has the figures that were measured.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest

from aerodrome.domain import versions
from support.kills import TASKS, Effect, Memory, Target
from support.site import Demo, Site, wait_for

# Seconds until it is well again, on a machine of two cores that does other things too.
PROMISED = {
    "postgres": 60,
    "valkey": 20,
    "cloud": 20,
    "server": 30,
    "webserver": 60,
    "scheduler": 60,
    "dag-processor": 60,
    "triggerer": 60,
    "worker": 60,
    "everything": 120,  # for each environment: their processes start beside each other
    "lost": 60,  # Airflow 2: a task that outlived its worker, until it waits for its next try
}
RUN = 240  # seconds that a run may take after the last kill

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def target(site: Site) -> Iterator[Target]:
    target = Target(site)
    target.upload()
    yield target
    target.tidy()
    print(f"\nSeconds until well again, Airflow {target.version.version}:")
    for what, seconds in target.times.items():
        print(f"  {what:20} {seconds:5.1f}")


@pytest.fixture
def memory(target: Target) -> Iterator[Memory]:
    """What was acknowledged; whatever is killed, all of it is there at the end."""
    memory = Memory(target)
    yield memory
    memory.check()
    memory.forget()


def started(target: Target, seconds: float) -> str:
    """A run whose first tasks are at work."""
    run = target.trigger(seconds)
    wait_for("tasks at work", lambda: len(target.at_work(run)) >= 3, 90)
    return run


def once(target: Target, run: str, *, killed: Iterable[Effect] = (), shaken: Iterable[int] = ()) -> None:
    """Every task was done, and once; it was begun again as often as it was killed itself.

    Tasks of the indices in `shaken` may have failed, and then been retried.
    """
    kills = Counter(effect.index for effect in killed)
    firm = set(range(TASKS)) - set(shaken)
    begun, ended, attempts = target.counts(run, "begin"), target.counts(run, "end"), target.attempts(run)
    assert {index: begun[index] for index in firm} == {index: 1 + kills[index] for index in firm}
    assert {index: attempts[index] for index in firm} == {index: 1 + kills[index] for index in firm}
    assert {index: ended[index] for index in firm} == dict.fromkeys(firm, 1)
    assert ended.keys() == set(range(TASKS))


def test_every_part_but_the_worker(target: Target, memory: Memory) -> None:
    """No task is touched by the death of anything that isn't the worker."""
    run = started(target, 10)
    parts: dict[str, Callable[[], object]] = {
        "triggerer": target.beats("triggerer"),
        "scheduler": target.beats("scheduler"),
        "webserver": target.health,
        "cloud": memory.readable,
        "server": target.status,
        "valkey": target.worker_answers,
    }
    if target.programs("dag-processor"):
        parts["dag-processor"] = target.beats("dag_processor")
    parts["postgres"] = target.all_well()  # the last: components may end when it does, and are started again
    for part, well in parts.items():
        if len(target.counts(run, "end")) > TASKS - 5:  # a slow machine: the next part needs tasks at work, too
            target.finish(run, RUN)
            once(target, run)
            run = started(target, 10)
        memory.write()
        target.kill(target.full_name(part), well, PROMISED[part])
    target.finish(run, RUN)
    once(target, run)


def test_the_worker_and_its_children(target: Target) -> None:
    """What the killed worker ran is begun again at once, and not beside what is left of it."""
    run = started(target, 8)
    wait_for("a full worker", lambda: len(target.at_work(run)) >= 5)
    killed = target.at_work(run)
    target.kill(target.program("worker"), target.worker_answers, PROMISED["worker"])
    assert not [effect for effect in killed if target.is_alive(effect)], "a task works on though nobody hears of it"
    wait_for("tasks at work again", lambda: len(target.at_work(run)) >= 3)
    child, task = target.at_work(run)[:2]
    os.kill(target.parent(child), signal.SIGKILL)
    os.kill(target.process(task), signal.SIGKILL)
    target.finish(run, RUN)
    once(target, run, killed=[*killed, child, task])


def test_what_the_worker_had_taken_and_not_begun(target: Target) -> None:
    """They go back into the queue at once, and no retry is spent on them."""
    children = target.pool()
    for pid in children:
        os.kill(pid, signal.SIGSTOP)
    try:
        run = target.trigger(1)
        wait_for("the worker to hold tasks", lambda: target.held() >= 5)
        assert target.effects(run) == []
        target.kill(target.program("worker"), target.worker_answers, PROMISED["worker"])
    finally:
        for pid in set(children) & set(target.pool()):
            os.kill(pid, signal.SIGCONT)
    target.finish(run, RUN)
    once(target, run)


@pytest.mark.parametrize("demo", sorted(versions.VERSIONS.keys() - {versions.DEFAULT_VERSION}), indirect=True)
def test_another_version_and_supervisord(demo: Demo, target: Target, memory: Memory) -> None:
    """Of another version the short form: the scheduler, the worker, a task of it that is lost. Then supervisord, amid a
    run of each: all of it comes back without anybody's help.
    """
    other = Target(demo.site, demo.name)
    other.upload()
    run = started(other, 25)
    other.kill(other.program("scheduler"), other.beats("scheduler"), PROMISED["scheduler"])
    outliving = other.at_work(run)
    other.kill(other.program("worker"), other.worker_answers, PROMISED["worker"])
    began = time.monotonic()
    if other.is_confined:
        assert not any(other.is_alive(effect) for effect in outliving), "a task works on though its worker is gone"
        killed, lost = outliving, outliving[0]
    else:
        assert all(other.is_alive(effect) or effect.index in other.counts(run, "end") for effect in outliving)
        lost = next(effect for effect in other.at_work(run) if effect in outliving)
        killed = [lost]
        os.kill(other.parent(lost), signal.SIGKILL)
        os.kill(other.process(lost), signal.SIGKILL)
    wait_for("the lost task to wait again", lambda: other.attempts(run)[lost.index] == 2, PROMISED["lost"])
    other.times["lost"] = time.monotonic() - began

    beside = started(target, 25)
    wait_for("a full worker", lambda: len(target.at_work(beside)) >= 5)
    wait_for("tasks at work beside", lambda: len(other.at_work(run)) >= 3)
    # On Airflow 2 tasks talk to PostgreSQL themselves, and that ends with its supervisor.
    shaken = set(range(TASKS)) - other.counts(run, "end").keys()
    memory.write()
    kill_supervisord(target, other)
    target.finish(beside, RUN)
    other.finish(run, RUN)
    once(target, beside)
    once(other, run, killed=killed, shaken=shaken)
    other.tidy()
    print(f"\nSeconds until well again, Airflow {other.version.version}: {other.times}")


def kill_supervisord(*targets: Target) -> None:
    """Returns when all of them are well again, without anybody's help."""
    first = targets[0]
    old, began = first.supervisor_pid(), time.monotonic()
    assert old is not None
    well = [target.all_well() for target in targets]
    os.kill(old, signal.SIGKILL)
    wait_for("another supervisord", lambda: first.supervisor_pid() not in (None, old), PROMISED["everything"])
    wait_for("the machine room", first.status, PROMISED["everything"])
    first.times["supervisord: machine room"] = time.monotonic() - began
    for target, all_well in zip(targets, well, strict=True):
        wait_for(f"{target.name} to be well", all_well, PROMISED["everything"] * len(targets))
    first.times[f"supervisord: {len(targets)} environments"] = time.monotonic() - began


def test_reboot(target: Target, memory: Memory) -> None:
    """All processes gone at once, then `up`: tasks that ran are begun again, the run ends, the environment is well."""
    run = started(target, 8)
    memory.write()
    wait_for("a full worker", lambda: len(target.at_work(run)) >= 5)
    killed = target.kill_everything(run)
    began = time.monotonic()
    target.site.aerodrome("up", "--detach")
    wait_for("all to be well", target.all_well(), PROMISED["everything"] * len(versions.VERSIONS))
    target.times["reboot"] = time.monotonic() - began
    target.finish(run, RUN)
    once(target, run, killed=killed)
    wait_for("AVAILABLE", lambda: target.status() == "AVAILABLE")

"""Which runtime an environment runs in, on a disk with real folders."""

from __future__ import annotations

import asyncio
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aerodrome.domain import versions
from aerodrome.domain.creation import complete
from aerodrome.domain.plan import Site
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.runtimes import inventory
from aerodrome.runtimes.key import choose_python, runtime_key
from aerodrome.server.world import RuntimeJobs, RuntimePlanner
from support.world import SECRETS, environment

VERSION = versions.DEFAULT_VERSION
SITE = Site("db:1", "broker:1", "redis", "http://127.0.0.1:1")
PYTHON = choose_python(versions.get(VERSION), as_other_user=False)[0]
CURRENT = runtime_key(VERSION, PYTHON)
EARLIER = f"{VERSION}-py{PYTHON}-000000000000"  # of an earlier release: nobody can make it any more


class Disk:
    def __init__(self, home: Path) -> None:
        self.layout = Layout(home)
        self.planner = RuntimePlanner(SITE, as_other_user=False)
        self.jobs = RuntimeJobs(self.layout, "postgresql://x", user=None, variables={}, planner=self.planner)

    def make(self, key: str, interface: int = inventory.INTERFACE) -> Path:
        root = self.layout.runtime(key)
        (root / "bin").mkdir(parents=True)
        (root / "bin" / "python").symlink_to(sys.executable)
        (root / "bin" / "airflow").write_text("#!/bin/sh\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(inventory, "INTERFACE", interface)
            inventory.complete(root, key)
        return root

    async def look(self, key: str) -> None:
        """As the first step does after something ended."""
        await self.jobs.damage(key, suspicious=True)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


async def test_a_new_environment_gets_the_current_one(disk: Disk) -> None:
    assert await disk.jobs.pin(VERSION, None) == CURRENT


async def test_one_that_is_there_is_kept_though_nobody_could_make_it_again(disk: Disk) -> None:
    disk.make(EARLIER)
    assert await disk.jobs.pin(VERSION, EARLIER) == EARLIER
    assert await disk.jobs.is_built(EARLIER)


async def test_one_that_is_gone_and_can_be_made_again_is_kept(disk: Disk) -> None:
    assert await disk.jobs.pin(VERSION, CURRENT) == CURRENT
    assert not await disk.jobs.is_built(CURRENT)


async def test_one_that_another_python_makes_is_kept_while_that_python_is_here(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newly found Python is for new environments."""
    other = next(python for python in versions.get(VERSION).pythons if python != PYTHON)
    key = runtime_key(VERSION, other)
    found = {other: "/usr/bin/other", PYTHON: "/usr/bin/this"}
    monkeypatch.setattr("aerodrome.server.world.find_python", lambda python, **_: found.get(python))
    assert await disk.jobs.pin(VERSION, key) == key
    command = " ".join(disk.jobs.build_job(key).command)
    assert f"--python {found[other]}" in command
    assert f"--key {key}" in command
    del found[other]
    assert await disk.jobs.pin(VERSION, key) == CURRENT
    with pytest.raises(Permanent, match=f"needs Python {other}"):
        disk.planner.python(key)


async def test_one_that_is_gone_for_good_is_replaced(disk: Disk) -> None:
    shutil.rmtree(disk.make(EARLIER))
    assert await disk.jobs.pin(VERSION, EARLIER) == CURRENT


async def test_one_that_is_damaged_for_good_is_replaced_and_one_that_can_be_rebuilt_is_not(disk: Disk) -> None:
    for key in (EARLIER, CURRENT):
        (disk.make(key) / "bin" / "airflow").unlink()
        await disk.look(key)
    assert await disk.jobs.pin(VERSION, EARLIER) == CURRENT
    assert await disk.jobs.pin(VERSION, CURRENT) == CURRENT
    assert not await disk.jobs.is_built(CURRENT)


async def test_one_that_lacks_what_this_release_needs_is_replaced(disk: Disk) -> None:
    disk.make(EARLIER, interface=inventory.INTERFACE - 1)
    assert await disk.jobs.pin(VERSION, EARLIER) == CURRENT


async def test_one_of_another_version_is_replaced(disk: Disk) -> None:
    disk.make("9.9.9-py3.11-000000000000")
    assert await disk.jobs.pin(VERSION, "9.9.9-py3.11-000000000000") == CURRENT


async def test_a_python_that_goes_while_we_run_is_noticed(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk.planner.runtime(VERSION) == CURRENT
    monkeypatch.setitem(disk.planner._chosen, VERSION, ("gone", "/usr/bin/python2.6"))
    assert disk.planner.runtime(VERSION) == CURRENT


def test_the_plan_is_made_in_the_pinned_runtime(disk: Disk) -> None:
    made = replace(environment(), desired=complete({}, strict=False))
    assert disk.planner.plan(made, SECRETS).runtime == CURRENT
    plan = disk.planner.plan(replace(made, runtime=EARLIER), SECRETS)
    assert {plan.runtime, *(component.runtime for component in plan.components), plan.tool.runtime} == {EARLIER}


async def test_many_ask_at_once_and_one_looks(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.make(EARLIER)
    looks = list[str]()
    look = inventory.damage
    monkeypatch.setattr(inventory, "damage", lambda layout, key: looks.append(key) or look(layout, key))
    await asyncio.gather(*(disk.jobs.damage(EARLIER, suspicious=True) for _ in range(20)))
    assert looks == [EARLIER]

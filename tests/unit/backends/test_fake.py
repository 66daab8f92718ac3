from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from aerodrome.backends import fake
from aerodrome.backends.base import Backend
from aerodrome.backends.fake import FakeBackend
from aerodrome.domain.component import Component, ComponentKind, Phase
from aerodrome.errors import Temporary
from support.backend_contract import BackendContract, Observed, is_in

_MODES = {
    "drains": fake.drains_for(2),
    "lingers": fake.never_drains(),
    "dies": fake.dies_after(1, "no such table"),
    "fails": fake.failing("no such table"),
    "hangs": fake.never(),
}


@dataclass
class FakeHarness:
    fake: FakeBackend = field(default_factory=lambda: FakeBackend(clock=itertools.count(step=0.3).__next__))
    one: str = "one"
    two: str = "two"

    @property
    def backend(self) -> Backend:
        return self.fake

    def component(
        self, behaviour: str, name: str, kind: ComponentKind = ComponentKind.SCHEDULER, **members: Any
    ) -> Component:
        if behaviour in _MODES:
            self.fake.mode[name] = _MODES[behaviour]
        else:
            self.fake.mode.pop(name, None)
        return Component(
            name=name,
            slot=name.rpartition("-")[0],
            kind=kind,
            runtime="r1",
            command=(behaviour,),
            ports=("web",) if kind is ComponentKind.WEB_SERVER else (),
            **members,
        )

    async def until(self, environment_id: str, met: Callable[[Observed], bool]) -> Observed:
        for _ in range(20):
            observed = await self.fake.observe(environment_id)
            if met(observed):
                return observed
        raise AssertionError(f"not so after 20 observations: {observed}")


@pytest.fixture
def harness() -> FakeHarness:
    return FakeHarness()


class TestFakeBackend(BackendContract):
    pass


async def _phases(harness: FakeHarness, name: str, count: int) -> list[Phase]:
    return [(await harness.fake.observe("one"))[name].phase for _ in range(count)]


async def test_slow_takes_that_many_observations(harness: FakeHarness) -> None:
    component = harness.component("serves", "scheduler-1-abcd")
    harness.fake.mode["scheduler-1"] = fake.slow(2)
    await harness.fake.ensure("one", component)
    assert await _phases(harness, component.name, 4) == [Phase.STARTING, Phase.STARTING, Phase.RUNNING, Phase.RUNNING]


async def test_never_and_dies_after(harness: FakeHarness) -> None:
    never, dies = harness.component("serves", "scheduler-1-abcd"), harness.component("serves", "worker-1-abcd")
    harness.fake.mode |= {"scheduler": fake.never(), "worker-1": fake.dies_after(1)}
    await harness.fake.ensure("one", never)
    assert set(await _phases(harness, never.name, 9)) == {Phase.STARTING}
    await harness.fake.ensure("one", dies)
    assert await _phases(harness, dies.name, 2) == [Phase.RUNNING, Phase.FAILED]


async def test_broken_machinery(harness: FakeHarness) -> None:
    component = harness.component("serves", "scheduler-1-abcd")
    await harness.fake.ensure("one", component)
    harness.fake.broken = Temporary("away")
    with pytest.raises(Temporary, match="away"):
        await harness.fake.observe("one")
    harness.fake.broken = None
    await harness.until("one", is_in(Phase.RUNNING, component.name))


async def test_the_same_object_survives_a_restart_of_its_driver(harness: FakeHarness) -> None:
    job = harness.component("succeeds", "migrate-abcd", ComponentKind.JOB)
    await harness.fake.ensure("one", job)
    assert await _phases(harness, job.name, 3) == [Phase.RUNNING, Phase.SUCCEEDED, Phase.SUCCEEDED]
    await harness.fake.ensure("one", job)
    assert await _phases(harness, job.name, 1) == [Phase.SUCCEEDED]

"""A damaged runtime, a full disk and a clock that jumps, as the reconciler lives through them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from aerodrome.backends.fake import dies_after, never
from aerodrome.domain.component import Phase
from aerodrome.domain.environment import Environment, Status
from aerodrome.store.environments import EnvironmentStore
from support.reconciling import control_plane, delete, settle, status
from support.world import NOW, World

DAMAGE = "2 files missing, first bin/airflow"


def told(world: World, kind: str) -> list[str]:
    return [message for type_, message in world.told if type_ == kind]


async def test_a_damaged_runtime_is_rebuilt_while_its_components_run_on(
    store: EnvironmentStore, made: Environment
) -> None:
    world = World()
    await settle(control_plane(store, world), made.id)
    running = dict(world.backend.components[made.id])
    world.harm_runtime(DAMAGE)
    await settle(control_plane(store, world), made.id)
    assert world.broken is None
    assert world.backend.components[made.id] == running
    assert all(world.backend.components[made.id][name] is was for name, was in running.items()), "not one was touched"
    assert told(world, "runtime.damaged") == [f"The runtime 3.3.1-test was damaged: {DAMAGE}; rebuilding."]
    assert await status(store, made.id) is Status.AVAILABLE


async def test_every_damage_is_told_once(store: EnvironmentStore, made: Environment) -> None:
    world = World()
    reconciler = control_plane(store, world)
    await settle(reconciler, made.id)
    for _ in range(2):
        world.harm_runtime(DAMAGE)
        await settle(reconciler, made.id)
    assert len(told(world, "runtime.damaged")) == 2


async def test_a_damaged_runtime_that_cannot_be_rebuilt_is_left_for_another(
    store: EnvironmentStore, made: Environment
) -> None:
    world = World()
    reconciler = control_plane(store, world)
    await settle(reconciler, made.id)
    damage = world.damage

    async def found(runtime: str, *, suspicious: bool = False) -> str | None:
        """Found out by a look, after the runtime was pinned in that pass."""
        if runtime == "3.3.1-test":
            world.gone.add(runtime)
            return DAMAGE
        return await damage(runtime, suspicious=suspicious)

    world.damage, world.current = found, "3.3.1-other"  # type: ignore[method-assign]
    await settle(reconciler, made.id)
    assert told(world, "runtime.damaged") == [
        f"The runtime 3.3.1-test was damaged: {DAMAGE}; it can't be made again here."
    ]
    row = await store.by_id(made.id)
    assert row is not None
    assert row.runtime == "3.3.1-other"
    assert {each.component.runtime for each in world.backend.components[made.id].values()} == {"3.3.1-other"}


async def test_what_failed_on_a_damaged_runtime_gets_another_start(store: EnvironmentStore, made: Environment) -> None:
    """A create isn't failed by a component that the damage ended."""
    world = World(sick={"worker-1": "not yet"})
    reconciler = control_plane(store, world)
    world.backend.mode["scheduler-1"] = dies_after(1000)
    for _ in range(8):
        await reconciler.reconcile(made.id)
    world.backend.mode["scheduler-1"] = dies_after(0, "No module named airflow")
    world.harm_runtime(DAMAGE)
    world.settling = True
    for _ in range(8):
        await reconciler.reconcile(made.id)
    assert world.broken is None
    assert await status(store, made.id) is Status.CREATING
    del world.backend.mode["scheduler-1"]
    world.sick.clear()
    await settle(reconciler, made.id)
    assert await status(store, made.id) is Status.AVAILABLE


async def test_something_that_ended_raises_the_suspicion(store: EnvironmentStore, made: Environment) -> None:
    world = World()
    suspicions = list[bool]()
    damage = world.damage

    async def watched(runtime: str, *, suspicious: bool = False) -> str | None:
        suspicions.append(suspicious)
        return await damage(runtime, suspicious=suspicious)

    world.damage = watched  # type: ignore[method-assign]
    reconciler = control_plane(store, world)
    await settle(reconciler, made.id)
    assert not any(suspicions)
    world.backend.mode["scheduler-1"] = dies_after(0)
    await reconciler.reconcile(made.id)
    assert suspicions[-1]


async def test_a_full_disk_is_waited_out_and_told(store: EnvironmentStore, made: Environment) -> None:
    world, full = World(), [True]
    ensure = world.backend.ensure

    async def refused(environment_id: str, component: object) -> None:
        if full[0]:
            raise OSError(28, "No space left on device", "/home/of/it")
        await ensure(environment_id, component)  # type: ignore[arg-type]

    world.backend = _with(world.backend, ensure=refused)
    reconciler = control_plane(store, world)
    for _ in range(20):
        assert await reconciler.reconcile(made.id) is not None
    assert await status(store, made.id) is Status.CREATING
    waits = told(world, "step.waiting")
    assert waits.count("The disk is full (/home/of/it). Free some space; this goes on by itself then.") == 1
    full[0] = False
    await settle(reconciler, made.id)
    assert await status(store, made.id) is Status.AVAILABLE


@dataclass
class _with:  # noqa: N801  reads as what it does
    """An object of which some methods are others."""

    part: object
    others: dict[str, object] = field(default_factory=dict)

    def __init__(self, part: object, **others: object) -> None:
        self.part, self.others = part, others

    def __getattr__(self, name: str) -> object:
        return self.others.get(name) or getattr(self.part, name)


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1), timedelta(days=400)])
async def test_a_clock_that_jumps_changes_nothing(store: EnvironmentStore, made: Environment, jump: timedelta) -> None:
    """While it is created, while it runs, while it is deleted."""
    world, clock = World(), [NOW]

    def now() -> datetime:
        return clock[0]

    reconciler = control_plane(store, world, now)
    world.backend.mode["worker-1"] = never()
    for _ in range(8):
        await reconciler.reconcile(made.id)
    clock[0] += jump
    for _ in range(3):
        await reconciler.reconcile(made.id)
    assert await status(store, made.id) is Status.CREATING
    del world.backend.mode["worker-1"]
    await settle(reconciler, made.id)
    assert await status(store, made.id) is Status.AVAILABLE
    running, events = dict(world.backend.components[made.id]), len(world.told)
    clock[0] -= jump
    await settle(reconciler, made.id)
    clock[0] += 2 * jump
    await settle(control_plane(store, world, now), made.id)
    assert {name: was.component for name, was in world.backend.components[made.id].items()} == {
        name: was.component for name, was in running.items()
    }
    assert all(state.phase is Phase.RUNNING for state in (await world.backend.observe(made.id)).values())
    assert len(world.told) == events
    await delete(store, made.id)
    clock[0] -= jump
    await settle(reconciler, made.id)
    assert world.left_of(made.id) == []

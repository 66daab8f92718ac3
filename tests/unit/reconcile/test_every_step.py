"""A kill, a failure or a repetition at every step, and at every change within a step, makes no difference in the end.

The steps are those of the reconciler's own lists; the changes are counted in a life that nothing disturbed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from aerodrome.backends.fake import failing
from aerodrome.domain.component import Phase
from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.lifecycle import GOALS, Goal
from aerodrome.errors import Permanent, Temporary
from aerodrome.reconcile.reconciler import STEPS
from aerodrome.reconcile.scope import Outcome, Scope, Step
from aerodrome.store.database import Pool
from aerodrome.store.environments import EnvironmentStore
from support.reconciling import Killed, Mortal, control_plane, delete, settle, status, steps_with
from support.world import OBJECTS, SECRETS, World
from support.world import environment as plain_environment

EVERY_STEP = [(goal, step.name) for goal in Goal for step in STEPS[goal]]
WELL, BAD = Status.AVAILABLE, Status.CREATE_FAILED


def environment(name: str, id_: str) -> Environment:
    """One with plugins, a startup script and requirements."""
    return plain_environment(name, id_=id_, **OBJECTS)


@pytest.fixture
async def made(store: EnvironmentStore) -> Environment:
    fresh = environment("demo", "0123456789ab")
    await store.insert(fresh, "127.83.1.1", SECRETS)
    return fresh


def new_world(goal: Goal) -> World:
    """One in which an environment goes through the goal's steps in its life: STOP follows a create that failed."""
    world = World()
    if goal is Goal.STOP:
        world.backend.mode["worker-1"] = failing("No such option")
    return world


def made_by(goal: Goal) -> Status:
    """What a create ends in there."""
    return BAD if goal is Goal.STOP else WELL


async def snapshot(store: EnvironmentStore, world: World, environment_id: str) -> dict[str, object]:
    """All that there is of an environment."""
    row = await store.by_id(environment_id)
    update = row and row.last_update
    observed = await world.backend.observe(environment_id)
    return {
        "row": row and (row.status, row.desired, row.applied, row.runtime, row.host, row.made),
        "update": update and (update.status, update.error_code, update.error_message),
        "components": {name: state.phase for name, state in observed.items()},
        "left": world.left_of(environment_id),
        "objects": world.objects.get(environment_id),
        "kept": environment_id in world.kept,
        "jobs": {name: state.phase for name, state in (await world.backend.observe(world.scope)).items()},
    }


async def whole_life(store: EnvironmentStore, world: World, environment_id: str) -> list[dict[str, object]]:
    """Snapshots after the create and after the delete."""
    await settle(control_plane(store, world), environment_id)
    created = await snapshot(store, world, environment_id)
    await delete(store, environment_id)
    await settle(control_plane(store, world), environment_id)
    return [created, await snapshot(store, world, environment_id)]


_undisturbed: dict[Goal, list[dict[str, object]]] = {}


async def undisturbed(store: EnvironmentStore, goal: Goal) -> list[dict[str, object]]:
    """What a life that nothing disturbs leaves; lived once."""
    if goal not in _undisturbed:
        _undisturbed[goal] = await _live_undisturbed(store, goal)
    return _undisturbed[goal]


async def _live_undisturbed(store: EnvironmentStore, goal: Goal) -> list[dict[str, object]]:
    other = environment("undisturbed", id_="f" * 12)
    await store.insert(other, "127.83.9.9", SECRETS)
    created, deleted = await whole_life(store, new_world(goal), other.id)
    assert created["row"] is not None
    assert deleted["row"] is None
    assert deleted["left"] == []
    return [created, deleted]


async def go_on(store: EnvironmentStore, world: World, environment_id: str) -> list[dict[str, object]]:
    """What a new control plane makes of what the old one left: as `whole_life`, as far as that isn't over."""
    await settle(control_plane(store, world), environment_id)
    snapshots = [await snapshot(store, world, environment_id)]
    if snapshots[0]["row"] is not None:
        await delete(store, environment_id)
        await settle(control_plane(store, world), environment_id)
        snapshots.append(await snapshot(store, world, environment_id))
    return snapshots


async def statuses(pool: Pool, environment_id: str) -> list[str]:
    """Those that its history tells of."""
    async with pool.connection() as connection:
        rows = await connection.execute(
            "SELECT message FROM events WHERE environment_id = %s AND type = 'status.changed' ORDER BY id",
            (environment_id,),
        )
        return [row["message"] for row in await rows.fetchall()]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("goal", "step"), EVERY_STEP)
async def test_a_kill_at_every_step_makes_no_difference(
    store: EnvironmentStore, made: Environment, monkeypatch: pytest.MonkeyPatch, goal: Goal, step: str, moment: str
) -> None:
    expected = await undisturbed(store, goal)
    world, kill = new_world(goal), Killed()
    steps = steps_with(goal, step, kill if moment == "before" else None, kill if moment == "after" else None)
    monkeypatch.setitem(STEPS, goal, steps)
    with pytest.raises(Killed):
        await whole_life(store, world, made.id)
    found = await go_on(store, world, made.id)
    assert found == expected[-len(found) :]


@pytest.mark.parametrize(
    ("goal", "after"),
    [(Goal.RUN, False), (Goal.RUN, True), (Goal.STOP, True), (Goal.REMOVE, False), (Goal.REMOVE, True)],
)
async def test_a_kill_at_every_change_makes_no_difference(
    store: EnvironmentStore, pool: Pool, goal: Goal, after: bool
) -> None:
    """Also between two lines of one step."""
    expected = await undisturbed(store, goal)

    async def live(mortal: Mortal, number: int) -> tuple[World, Environment]:
        world, fresh = new_world(goal), environment(f"n{number}", id_=f"{number:012x}")
        await store.insert(fresh, f"127.83.2.{number}", SECRETS)
        if goal is Goal.REMOVE:
            await settle(control_plane(store, world), fresh.id)
            await delete(store, fresh.id)
        with suppress(Killed):
            await settle(mortal.control_plane(store, world), fresh.id)
        return world, fresh

    counter = Mortal()
    await live(counter, 0)
    assert counter.changes >= len(STEPS[goal]), "every step changes something, or says that it did"
    for number in range(1, counter.changes + 1):
        mortal = Mortal(at=number - 1, after=after)
        world, fresh = await live(mortal, number)
        found = await go_on(store, world, fresh.id)
        assert found == expected[-len(found) :], f"after a kill at {mortal.last}"
        assert await statuses(pool, fresh.id) == [made_by(goal), "DELETED"], f"after a kill at {mortal.last}"


@pytest.mark.parametrize("goal", Goal)
async def test_every_step_run_twice_makes_no_difference(
    store: EnvironmentStore, made: Environment, monkeypatch: pytest.MonkeyPatch, goal: Goal
) -> None:
    expected = await undisturbed(store, goal)

    def twice(step: Step) -> Step:
        async def run(scope: Scope) -> Outcome:
            await step.run(scope)
            return await step.run(scope)

        return replace(step, run=run)

    monkeypatch.setitem(STEPS, goal, tuple(map(twice, STEPS[goal])))
    assert await whole_life(store, new_world(goal), made.id) == expected


@pytest.mark.parametrize("error", [Temporary("away", 0.0), OSError(28, "No space left on device", "/x")])
@pytest.mark.parametrize(("goal", "step"), EVERY_STEP)
async def test_a_passing_failure_of_every_step_passes(
    store: EnvironmentStore, made: Environment, monkeypatch: pytest.MonkeyPatch, goal: Goal, step: str, error: Exception
) -> None:
    expected = await undisturbed(store, goal)
    monkeypatch.setitem(STEPS, goal, steps_with(goal, step, error, None))
    assert await whole_life(store, new_world(goal), made.id) == expected


@pytest.mark.parametrize("step", [step.name for step in STEPS[Goal.RUN]])
async def test_a_permanent_failure_of_every_step_fails_the_create(
    store: EnvironmentStore, made: Environment, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    world = World()
    monkeypatch.setitem(STEPS, Goal.RUN, steps_with(Goal.RUN, step, Permanent("it can't work", "the last lines"), None))
    await settle(control_plane(store, world), made.id)
    row = await store.by_id(made.id)
    assert row is not None
    assert row.status is Status.CREATE_FAILED
    assert row.last_update is not None
    assert row.last_update.error_message == "it can't work\nthe last lines"
    assert world.backend.components.get(made.id, {}) == {}
    assert made.id not in world.routes
    await delete(store, made.id)
    await settle(control_plane(store, world), made.id)
    assert world.left_of(made.id) == []


@pytest.mark.parametrize("step", [step.name for step in STEPS[Goal.RUN]])
async def test_a_permanent_failure_of_every_step_leaves_an_available_environment_running(
    store: EnvironmentStore, made: Environment, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    world = World()
    await settle(control_plane(store, world), made.id)
    before = await snapshot(store, world, made.id)
    monkeypatch.setitem(STEPS, Goal.RUN, steps_with(Goal.RUN, step, Permanent("it can't work"), None))
    reconciler = control_plane(store, world)
    assert await reconciler.reconcile(made.id) == 30.0
    assert await snapshot(store, world, made.id) == before
    await settle(reconciler, made.id)
    assert await snapshot(store, world, made.id) == before


def need_each_other(steps: tuple[Step, ...], name: str) -> set[str]:
    """The step and all that wait for it."""
    found = {name}
    for step in steps:
        if found & set(step.needs):
            found.add(step.name)
    return found


@pytest.mark.parametrize(("goal", "step"), [(goal, step) for goal, step in EVERY_STEP if goal is not Goal.RUN])
async def test_what_cannot_be_taken_down_keeps_back_nothing_else(
    store: EnvironmentStore, made: Environment, monkeypatch: pytest.MonkeyPatch, goal: Goal, step: str
) -> None:
    """A step of a delete that fails for good: what doesn't need it goes; it is told once; mended, all goes."""
    original = STEPS[goal]
    world, ran = new_world(goal), list[str]()

    def watch(each: Step) -> Step:
        async def run(scope: Scope) -> Outcome:
            if each.name == step:
                raise Permanent("it can't be taken down")
            ran.append(each.name)
            return await each.run(scope)

        return replace(each, run=run)

    reconciler = control_plane(store, world)
    if goal is Goal.REMOVE:
        await settle(reconciler, made.id)
        await delete(store, made.id)
    monkeypatch.setitem(STEPS, goal, tuple(map(watch, original)))
    for _ in range(10):
        await reconciler.reconcile(made.id)
    assert set(ran) == {each.name for each in original} - need_each_other(original, step)
    row = await store.by_id(made.id)
    assert row is not None
    assert GOALS[row.status] is goal
    assert [message for kind, message in world.told if kind == "error"].count("it can't be taken down") == 1
    if step != "stop_components":
        assert not any(state.phase is Phase.RUNNING for state in (await world.backend.observe(made.id)).values())
    monkeypatch.setitem(STEPS, goal, original)
    await settle(reconciler, made.id)
    if goal is Goal.STOP:
        await delete(store, made.id)
        await settle(reconciler, made.id)
    assert await status(store, made.id) is None
    assert world.left_of(made.id) == []

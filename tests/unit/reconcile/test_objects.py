"""The switch to what plugins.zip, a startup script and requirements.txt make: beside, rolled to, undone, cleared up."""

from __future__ import annotations

import pytest

from aerodrome.backends.fake import drains_for, failing, slow
from aerodrome.domain.component import Phase
from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.products import Part
from aerodrome.errors import Permanent, Temporary
from aerodrome.store.database import Pool
from aerodrome.store.environments import EnvironmentStore
from support.reconciling import control_plane, names, row_of, settle, status, update
from support.world import NEW_OBJECTS, OBJECTS, SECRETS, World, environment, made_of, names_in

ALL_PARTS = pytest.mark.parametrize("part", Part)
FIRST = {name for part in Part for name in names_in(made_of(part, "1"))}


@pytest.fixture
async def made(store: EnvironmentStore) -> Environment:
    fresh = environment(**OBJECTS)
    await store.insert(fresh, "127.83.1.1", SECRETS)
    return fresh


def version(part: Part) -> str:
    return f"{part}S3ObjectVersion"


async def test_components_are_made_of_what_was_made(available: tuple[World, Environment]) -> None:
    world, made = available
    assert world.objects[made.id] == FIRST
    for running in world.backend.components[made.id].values():
        assert running.component.runtime == "3.3.1-own-1"
        assert running.component.templates == {"plugins": "tree-1"}
        assert running.component.secrets == {"EXPORTED": "exports-1"}
    assert made.runtime == "3.3.1-test", "the one that its own is made of, which databases and repairs go by"


@ALL_PARTS
async def test_a_new_version_is_made_beside_and_rolled_to(
    store: EnvironmentStore, available: tuple[World, Environment], part: Part
) -> None:
    world, made = available
    old = names(world, made)
    await update(store, made.id, **{version(part): "2"})
    reconciler = control_plane(store, world)
    while names(world, made) == old:
        await reconciler.reconcile(made.id)
    assert old < names(world, made), "the old ones run until the new ones are healthy"
    assert world.objects[made.id] > FIRST
    await settle(reconciler, made.id)
    assert await status(store, made.id) is Status.AVAILABLE
    assert old.isdisjoint(names(world, made))
    (gone,), (new,) = names_in(made_of(part, "1")), names_in(made_of(part, "2"))
    assert world.objects[made.id] == FIRST - {gone} | {new}


@ALL_PARTS
async def test_a_new_version_of_which_the_same_is_made_replaces_nothing(
    store: EnvironmentStore, available: tuple[World, Environment], part: Part
) -> None:
    world, made = available
    world.unchanged = {"2"}
    old = names(world, made)
    await update(store, made.id, **{version(part): "2"})
    await settle(control_plane(store, world), made.id)
    row = await row_of(store, made)
    assert (row.status, row.applied and row.applied[version(part)]) == (Status.AVAILABLE, "2")
    assert names(world, made) == old
    assert world.objects[made.id] == FIRST


@ALL_PARTS
async def test_an_empty_path_takes_it_away(
    store: EnvironmentStore, available: tuple[World, Environment], part: Part
) -> None:
    world, made = available
    await update(store, made.id, **{f"{part}S3Path": ""})
    await settle(control_plane(store, world), made.id)
    assert await status(store, made.id) is Status.AVAILABLE
    assert world.objects[made.id] == FIRST - set(names_in(made_of(part, "1")))
    world.check_running(made.id)


@ALL_PARTS
async def test_what_cannot_be_made_is_rolled_back_before_anything_is_touched(
    store: EnvironmentStore, available: tuple[World, Environment], part: Part
) -> None:
    world, made = available
    old = names(world, made)
    world.unmakeable["2"] = Permanent("Because foo==2 needs bar>3, it can't be installed.", "the resolver's own lines")
    await update(store, made.id, **{version(part): "2"})
    await settle(control_plane(store, world), made.id)
    row = await row_of(store, made)
    assert row.status is Status.UPDATE_FAILED
    assert row.desired[version(part)] == "1"
    assert row.last_update is not None
    assert "Because foo==2 needs bar>3" in (row.last_update.error_message or "")
    assert names(world, made) == old
    assert {state.phase for state in (await world.backend.observe(made.id)).values()} == {Phase.RUNNING}
    assert world.objects[made.id] == FIRST


async def test_a_create_that_cannot_make_one_fails_and_leaves_nothing_running(
    store: EnvironmentStore, made: Environment
) -> None:
    world = World(unmakeable={"1": Permanent("plugins.zip was not unpacked: it is no ZIP archive.")})
    await settle(control_plane(store, world), made.id)
    assert await status(store, made.id) is Status.CREATE_FAILED
    assert world.backend.components.get(made.id, {}) == {}
    assert world.objects.get(made.id) is None


async def test_what_passes_is_waited_for(store: EnvironmentStore, made: Environment) -> None:
    world = World(unmakeable={"1": Temporary("An index can't be reached.", 5)})
    reconciler = control_plane(store, world)
    for _ in range(6):
        await reconciler.reconcile(made.id)
    assert await status(store, made.id) is Status.CREATING
    assert "An index can't be reached." in [message for _, message in world.told]
    world.unmakeable.clear()
    await settle(reconciler, made.id)
    assert await status(store, made.id) is Status.AVAILABLE


async def test_a_worker_that_drains_keeps_what_it_runs_in(
    store: EnvironmentStore, available: tuple[World, Environment]
) -> None:
    """For hours perhaps; the environment is AVAILABLE meanwhile, and may be updated again."""
    world, made = available
    (worker,) = [name for name in names(world, made) if name.startswith("worker-1")]
    world.backend.mode[worker] = drains_for(30)
    for number in ("2", "3"):
        await update(store, made.id, **dict.fromkeys(NEW_OBJECTS, number))
        reconciler = control_plane(store, world)
        while await status(store, made.id) is not Status.AVAILABLE:
            await reconciler.reconcile(made.id)
        await reconciler.reconcile(made.id)
        assert worker in names(world, made)
        assert world.objects[made.id] > FIRST
        world.check_running(made.id)
    await settle(reconciler, made.id)
    assert worker not in names(world, made)
    assert world.objects[made.id] == {name for part in Part for name in names_in(made_of(part, "3"))}
    assert len((await row_of(store, made)).made) <= 2 * len(Part), "those in force, and those before"


async def test_an_update_that_fails_late_goes_back_to_what_was_made_before(
    store: EnvironmentStore, available: tuple[World, Environment]
) -> None:
    """A plugin that Airflow can't be started with, say."""
    world, made = available
    old = names(world, made)
    world.backend.mode["webserver-1"] = slow(4)
    await update(store, made.id, **NEW_OBJECTS)
    reconciler = control_plane(store, world)
    while names(world, made) == old:
        await reconciler.reconcile(made.id)
    for name in names(world, made) - old:
        world.backend.mode[name] = failing("ImportError")
    await settle(reconciler, made.id)
    assert await status(store, made.id) is Status.UPDATE_FAILED
    assert names(world, made) == old
    assert world.objects[made.id] == FIRST


async def test_an_update_with_nothing_in_it_runs_the_script_and_resolves_anew(
    store: EnvironmentStore, available: tuple[World, Environment]
) -> None:
    world, made = available
    before = set(made.made)
    await update(store, made.id)
    await settle(control_plane(store, world), made.id)
    row = await row_of(store, made)
    assert row.status is Status.AVAILABLE
    assert len(set(row.made) - before) == 2, "plugins.zip is what it was"


async def test_what_is_lost_is_made_again_and_changes_nothing(
    store: EnvironmentStore, available: tuple[World, Environment]
) -> None:
    world, made = available
    old = names(world, made)
    world.objects[made.id].clear()
    world.begun.clear()
    await settle(control_plane(store, world), made.id)
    assert world.objects[made.id] == FIRST
    assert names(world, made) == old


async def test_what_was_made_is_told_with_its_seconds(store: EnvironmentStore, pool: Pool, made: Environment) -> None:
    world = World()
    await settle(control_plane(store, world), made.id)
    told = [message for kind, message in world.told if kind == "object.made"]
    assert told == ["Plugins 1", "StartupScript 1", "Requirements 1"]


async def test_exports_are_in_no_event_and_lie_sealed(
    store: EnvironmentStore, pool: Pool, available: tuple[World, Environment]
) -> None:
    world, made = available
    (scheduler,) = [name for name in names(world, made) if name.startswith("scheduler-1")]
    world.backend.mode[scheduler] = failing("it said exports-1")
    world.backend.log[scheduler] = "KeyError: 'exports-1'"
    await control_plane(store, world).reconcile(made.id)
    assert "KeyError: '<EXPORTED>'" in str(world.told_data)
    assert "exports-1" not in str(world.told) + str(world.told_data) + repr(made)
    async with pool.connection() as connection:
        rows = await connection.execute("SELECT * FROM environments")
        assert b"exports-1" not in repr(await rows.fetchall()).encode()

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from aerodrome.backends.fake import dies_after, failing, never, slow
from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.lifecycle import Goal
from aerodrome.reconcile.reconciler import STEPS, Reconciler
from aerodrome.store.environments import EnvironmentStore
from support.reconciling import ROUNDS, control_plane, delete, settle, status
from support.world import NOW, SECRETS, World, environment


async def test_create_becomes_available_and_applied(store: EnvironmentStore, made: Environment) -> None:
    world = World()
    await settle(control_plane(store, world), made.id)
    row = await store.by_id(made.id)
    assert row is not None
    assert row.status is Status.AVAILABLE
    assert row.applied == made.desired
    assert row.last_update is not None
    assert row.last_update.status == "SUCCESS"
    assert len(world.backend.components[made.id]) == 3
    finished = [message for kind, message in world.told if kind == "step.finished"]
    objects = ("unpack_plugins", "run_startup_script", "install_requirements", "remove_unused")  # it has none
    nothing_to_tell = ("await_endpoints", *objects)
    assert sorted(finished) == sorted(step.title for step in STEPS[Goal.RUN] if step.name not in nothing_to_tell)


async def test_not_available_while_a_component_is_not_healthy(store: EnvironmentStore, made: Environment) -> None:
    world = World(sick={"scheduler-1": "sends no heartbeat"})
    reconciler = control_plane(store, world)
    for _ in range(ROUNDS):
        await reconciler.reconcile(made.id)
    assert await status(store, made.id) is Status.CREATING
    world.sick.clear()
    await settle(reconciler, made.id)
    assert await status(store, made.id) is Status.AVAILABLE


@pytest.mark.parametrize("mode", [failing("No such option"), dies_after(2)])
async def test_a_component_that_keeps_ending_fails_the_create_with_its_log(
    store: EnvironmentStore, made: Environment, mode: object
) -> None:
    world = World()
    world.backend.mode["scheduler-1"] = mode  # type: ignore[assignment]
    world.sick["worker-1"] = "not yet"
    name = next(c.name for c in world.plan(made, SECRETS).components if c.slot == "scheduler-1")
    world.backend.log[name] = "Traceback\nImportError: no module named foo"
    await settle(control_plane(store, world), made.id)
    row = await store.by_id(made.id)
    assert row is not None
    assert row.status is Status.CREATE_FAILED
    assert row.last_update is not None
    assert "no module named foo" in (row.last_update.error_message or "")
    assert world.backend.components[made.id] == {}
    assert made.id not in world.routes


async def test_a_create_that_takes_too_long_fails_and_says_what_it_waited_for(
    store: EnvironmentStore, made: Environment
) -> None:
    world = World()
    world.backend.mode["worker-1"] = never()
    seconds = itertools.count(step=100)
    reconciler = Reconciler(
        store, world, world.services(), world, now=lambda: NOW, create_timeout=600, clock=lambda: float(next(seconds))
    )
    for _ in range(ROUNDS):
        await reconciler.reconcile(made.id)
    row = await store.by_id(made.id)
    assert row is not None
    assert row.status is Status.CREATE_FAILED
    assert row.last_update is not None
    assert "Starting worker-1" in (row.last_update.error_message or "")


async def test_a_failed_build_is_tried_again_by_the_next_create(store: EnvironmentStore, made: Environment) -> None:
    world = World()
    world.backend.mode["build"] = failing("exit code 1")
    world.backend.log["build"] = "no network and nothing in the cache"
    await settle(control_plane(store, world), made.id)
    row = await store.by_id(made.id)
    assert row is not None
    assert row.last_update is not None
    assert "nothing in the cache" in (row.last_update.error_message or "")
    del world.backend.mode["build"]
    second = replace(environment("second"), id="ba9876543210")
    await store.insert(second, "127.83.1.2", SECRETS)
    await settle(control_plane(store, world), second.id)
    assert await status(store, second.id) is Status.AVAILABLE


@pytest.mark.parametrize("passes", range(8))
async def test_delete_at_any_moment_of_a_create_leaves_nothing(
    store: EnvironmentStore, made: Environment, passes: int
) -> None:
    world = World()
    reconciler = control_plane(store, world)
    for _ in range(passes):
        await reconciler.reconcile(made.id)
    await delete(store, made.id)
    await settle(reconciler, made.id)
    assert await status(store, made.id) is None
    assert world.left_of(made.id) == []


async def test_logs_of_every_environment_that_ran_are_kept_and_told_of(
    store: EnvironmentStore, made: Environment
) -> None:
    """Also of a later one of the same name."""
    world = World()
    second = replace(made, id="ba9876543210")
    await settle(control_plane(store, world), made.id)
    await delete(store, made.id)
    await settle(control_plane(store, world), made.id)
    await store.insert(second, "127.83.1.2", SECRETS)
    world.backend.mode["worker-1"] = failing("No such option")
    await settle(control_plane(store, world), second.id)
    assert await status(store, second.id) is Status.CREATE_FAILED
    await delete(store, second.id)
    await settle(control_plane(store, world), second.id)
    assert world.kept == {made.id: made.key, second.id: made.key}
    assert [message for _, message in world.told].count("Logs kept") == 2


async def test_an_installation_that_keeps_no_logs_tells_of_none(store: EnvironmentStore, made: Environment) -> None:
    world = World(keeps_logs=False)
    await settle(control_plane(store, world), made.id)
    await delete(store, made.id)
    await settle(control_plane(store, world), made.id)
    assert await status(store, made.id) is None
    assert world.kept == {}
    assert "Logs kept" not in [message for _, message in world.told]


async def test_what_disappears_comes_back(store: EnvironmentStore, made: Environment) -> None:
    world = World()
    reconciler = control_plane(store, world)
    await settle(reconciler, made.id)
    world.backend.components[made.id].clear()
    world.routes.clear()
    await settle(reconciler, made.id)
    assert len(world.backend.components[made.id]) == 3
    assert made.id in world.routes
    assert await status(store, made.id) is Status.AVAILABLE


async def test_changed_components_replace_the_old_ones_only_when_healthy(
    store: EnvironmentStore, made: Environment
) -> None:
    world = World()
    reconciler = control_plane(store, world)
    await settle(reconciler, made.id)
    old = set(world.backend.components[made.id])
    world.version = "2"
    world.backend.mode["webserver-1"] = slow(6)
    await reconciler.reconcile(made.id)
    assert old < set(world.backend.components[made.id])
    await settle(reconciler, made.id)
    assert old.isdisjoint(world.backend.components[made.id])


async def test_only_one_of_two_control_planes_looks(store: EnvironmentStore, made: Environment) -> None:
    async with store.lease(made.id) as held:
        assert held
        world = World()
        assert await control_plane(store, world).reconcile(made.id) == 1.0
        assert world.backend.components == {}


async def test_a_steady_state_writes_no_events(store: EnvironmentStore, made: Environment) -> None:
    world = World()
    reconciler = control_plane(store, world)
    await settle(reconciler, made.id)
    told = len(world.told)
    for _ in range(5):
        await settle(reconciler, made.id)
    assert len(world.told) == told


async def test_what_can_no_longer_be_planned_can_still_be_deleted(store: EnvironmentStore, made: Environment) -> None:
    world = World()
    reconciler = control_plane(store, world)
    await settle(reconciler, made.id)
    world.unplannable = True
    for _ in range(5):
        await reconciler.reconcile(made.id)
    assert await status(store, made.id) is Status.AVAILABLE
    assert [kind for kind, _ in world.told].count("error") == 1, "told once, not at every pass"
    await delete(store, made.id)
    await settle(reconciler, made.id)
    assert await status(store, made.id) is None
    assert world.left_of(made.id) == []


async def test_a_bucket_that_can_no_longer_be_read_is_told_once(store: EnvironmentStore, made: Environment) -> None:
    world = World()
    reconciler = control_plane(store, world)
    await settle(reconciler, made.id)
    world.bucket_error = "bucket gone: NoSuchBucket"
    for _ in range(3):
        await settle(reconciler, made.id)
    told = [message for kind, message in world.told if kind == "unhealthy"]
    assert told == ["DAGs are no longer synchronised: bucket gone: NoSuchBucket"]


async def test_a_route_is_set_although_nothing_else_can_be(store: EnvironmentStore, made: Environment) -> None:
    """After a restart of the control plane what still runs must be reachable, whatever step fails."""
    world = World()
    await settle(control_plane(store, world), made.id)
    world.routes.clear()
    world.results.clear()
    world.backend.mode["build"] = failing("no network")
    for _ in range(4):
        await control_plane(store, world).reconcile(made.id)
    assert made.id in world.routes

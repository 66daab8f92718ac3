"""An environment stays in the runtime it was made in, whatever a later release or another Python would choose."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aerodrome.backends.fake import slow
from aerodrome.domain.environment import Environment, Status
from aerodrome.errors import Permanent
from aerodrome.store.database import Pool
from aerodrome.store.environments import EnvironmentStore
from support.reconciling import control_plane, delete, settle, status
from support.world import SECRETS, World, environment

FIRST, SECOND = "3.3.1-test", "3.3.1-other"


async def runtime_of(store: EnvironmentStore, environment_id: str) -> str | None:
    row = await store.by_id(environment_id)
    return row and row.runtime


async def test_it_is_chosen_at_the_first_pass_and_kept(store: EnvironmentStore, made: Environment) -> None:
    world = World()
    await settle(control_plane(store, world), made.id)
    before = set(world.backend.components[made.id])
    assert await runtime_of(store, made.id) == FIRST
    world.current = SECOND
    await settle(control_plane(store, world), made.id)
    assert set(world.backend.components[made.id]) == before
    assert await runtime_of(store, made.id) == FIRST
    newer = replace(environment("newer"), id="b" * 12)
    await store.insert(newer, "127.83.1.2", SECRETS)
    await settle(control_plane(store, world), newer.id)
    assert await runtime_of(store, newer.id) == SECOND


async def test_a_row_of_an_earlier_release_is_pinned_at_its_next_pass(
    store: EnvironmentStore, pool: Pool, made: Environment
) -> None:
    world = World()
    await settle(control_plane(store, world), made.id)
    async with pool.connection() as connection:
        await connection.execute("UPDATE environments SET runtime = NULL")
    before = set(world.backend.components[made.id])
    await control_plane(store, world).reconcile(made.id)
    assert await runtime_of(store, made.id) == FIRST
    assert set(world.backend.components[made.id]) == before


async def test_a_runtime_that_is_lost_is_replaced_beside_and_told(
    store: EnvironmentStore, pool: Pool, made: Environment
) -> None:
    """The old components run until the new ones are healthy."""
    world = World()
    await settle(control_plane(store, world), made.id)
    old = set(world.backend.components[made.id])
    world.current, world.gone = SECOND, {FIRST}
    world.backend.mode["webserver-1"] = slow(6)
    reconciler = control_plane(store, world)
    await reconciler.reconcile(made.id)
    assert old < set(world.backend.components[made.id])
    await settle(reconciler, made.id)
    assert old.isdisjoint(world.backend.components[made.id])
    assert await runtime_of(store, made.id) == SECOND
    async with pool.connection() as connection:
        rows = await connection.execute("SELECT message, data FROM events WHERE type = 'runtime.changed'")
        (told,) = await rows.fetchall()
    assert told["data"] == {"from": FIRST, "to": SECOND}
    assert FIRST in told["message"]
    assert SECOND in told["message"]


async def test_who_writes_at_the_same_moment_wins(store: EnvironmentStore, made: Environment) -> None:
    """A DeleteEnvironment between the read and the pin: nothing of the create happens any more."""
    world = World()
    pin = world.pin

    async def slowly(version: str, pinned: str | None) -> str:
        if await status(store, made.id) is Status.CREATING:
            await delete(store, made.id)
        return await pin(version, pinned)

    world.pin = slowly  # type: ignore[method-assign]
    reconciler = control_plane(store, world)
    assert await reconciler.reconcile(made.id) == 0.0
    assert await runtime_of(store, made.id) is None
    assert world.left_of(made.id) == []
    await settle(reconciler, made.id)
    assert await status(store, made.id) is None


async def test_without_any_runtime_the_create_fails_and_says_why(store: EnvironmentStore, made: Environment) -> None:
    world = World()

    async def none(version: str, pinned: str | None) -> str:
        raise Permanent("Airflow 3.3.1 needs Python 3.12 or 3.11, and none was found. Install one.")

    world.pin = none  # type: ignore[method-assign]
    await settle(control_plane(store, world), made.id)
    row = await store.by_id(made.id)
    assert row is not None
    assert row.status is Status.CREATE_FAILED
    assert row.last_update is not None
    assert "Install one." in (row.last_update.error_message or "")
    await delete(store, made.id)
    await settle(control_plane(store, world), made.id)
    assert await status(store, made.id) is None


@pytest.mark.parametrize("wanted", [Status.DELETING, Status.CREATE_FAILED])
async def test_what_goes_down_needs_no_runtime(store: EnvironmentStore, made: Environment, wanted: Status) -> None:
    world = World(current="never asked for")
    row = await store.by_id(made.id)
    assert row is not None
    await store.update(row, status=wanted)
    await settle(control_plane(store, world), made.id)
    assert await runtime_of(store, made.id) is None

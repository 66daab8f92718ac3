"""PENDING: a create waits for the VPC endpoints that its owner makes, and for nothing else (mwaa-spec 2.1, 12)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from aerodrome.domain.endpoints import endpoint_services
from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.lifecycle import Goal
from aerodrome.errors import Permanent, Temporary
from aerodrome.reconcile.reconciler import STEPS, Reconciler
from aerodrome.store.database import Pool
from aerodrome.store.environments import EnvironmentStore
from support.reconciling import Killed, Mortal, control_plane, delete, settle, status, steps_with
from support.world import NOW, SECRETS, World, environment

CUSTOMER = {
    "EndpointManagement": "CUSTOMER",
    "WebserverAccessMode": "PRIVATE_ONLY",
    "NetworkConfiguration": {"SubnetIds": ["subnet-a", "subnet-b"], "SecurityGroupIds": ["sg-1"]},
}
ENOUGH = 12  # passes until nothing but the endpoints is waited for


def customers(number: int = 0, **members: object) -> Environment:
    fresh = environment(f"n{number}", id_=f"{number:012x}")
    return replace(fresh, desired={**fresh.desired, **CUSTOMER, **members})


def services(row: Environment) -> dict[str, str]:
    return endpoint_services(row.id, row.key, row.desired)


@pytest.fixture
async def asked(store: EnvironmentStore) -> Environment:
    """An environment whose owner makes the endpoints, just asked for."""
    fresh = customers()
    await store.insert(fresh, "127.83.4.0", SECRETS)
    return fresh


async def passes(reconciler: Reconciler, environment_id: str, count: int = ENOUGH) -> None:
    for _ in range(count):
        await reconciler.reconcile(environment_id)


async def statuses(pool: Pool, environment_id: str) -> list[str]:
    """Those that its history tells of."""
    async with pool.connection() as connection:
        rows = await connection.execute(
            "SELECT message FROM events WHERE environment_id = %s AND type = 'status.changed' ORDER BY id",
            (environment_id,),
        )
        return [row["message"] for row in await rows.fetchall()]


def told(world: World, kind: str) -> list[str]:
    return [message for type_, message in world.told if type_ == kind]


async def test_all_is_ready_but_no_component_runs_until_the_endpoints_are_there(
    store: EnvironmentStore, pool: Pool, asked: Environment
) -> None:
    world = World()
    reconciler = control_plane(store, world)
    await passes(reconciler, asked.id)
    assert await status(store, asked.id) is Status.PENDING
    assert world.left_of(asked.id) == ["database", "broker", "content", "route"]
    database, web_server = services(asked).values()
    missing = "in subnet-a, subnet-b"
    assert told(world, "step.waiting")[-1] == (
        "Waiting for VPC endpoints, which are yours to make (EndpointManagement is CUSTOMER):"
        f" of {database} {missing}; of {web_server} {missing}"
    )
    world.vpc_endpoints |= {database, web_server}
    await settle(reconciler, asked.id)
    row = await store.by_id(asked.id)
    assert row is not None
    assert (row.status, row.applied) == (Status.AVAILABLE, asked.desired)
    assert await statuses(pool, asked.id) == ["PENDING", "CREATING", "AVAILABLE"]


async def test_one_endpoint_of_two_is_not_enough_and_what_lacks_is_told(
    store: EnvironmentStore, asked: Environment
) -> None:
    world = World()
    reconciler = control_plane(store, world)
    await passes(reconciler, asked.id)
    database, web_server = services(asked).values()
    world.vpc_endpoints.add(database)
    await passes(reconciler, asked.id)
    assert await status(store, asked.id) is Status.PENDING
    last = told(world, "step.waiting")[-1]
    assert web_server in last
    assert database not in last


async def test_a_public_web_server_needs_the_databases_endpoint_alone(store: EnvironmentStore) -> None:
    asked, world = customers(1, WebserverAccessMode="PUBLIC_ONLY"), World()
    await store.insert(asked, "127.83.4.1", SECRETS)
    await passes(control_plane(store, world), asked.id)
    assert await status(store, asked.id) is Status.PENDING
    (database,) = services(asked).values()
    world.vpc_endpoints.add(database)
    await settle(control_plane(store, world), asked.id)
    assert await status(store, asked.id) is Status.AVAILABLE


async def test_every_step_and_every_wait_of_a_create_is_told_once(store: EnvironmentStore, asked: Environment) -> None:
    """However often the status changes from CREATING to PENDING and back."""
    world = World()
    reconciler = control_plane(store, world)
    await passes(reconciler, asked.id)
    world.vpc_endpoints |= set(services(asked).values())
    await settle(reconciler, asked.id)
    objects = ("unpack_plugins", "run_startup_script", "install_requirements", "remove_unused")  # it has none
    assert sorted(told(world, "step.finished")) == sorted(
        step.title for step in STEPS[Goal.RUN] if step.name not in objects
    )
    waits = told(world, "step.waiting")
    assert len(set(waits)) == len(waits)


async def test_nobody_else_waits_for_endpoints_or_is_told_of_them(store: EnvironmentStore, made: Environment) -> None:
    world = World()
    await settle(control_plane(store, world), made.id)
    assert world.asked_for_endpoints == []
    assert not [message for _, message in world.told if "endpoint" in message]


async def test_an_available_environment_does_not_look_for_its_endpoints_again(
    store: EnvironmentStore, asked: Environment
) -> None:
    world = World(vpc_endpoints=set(services(asked).values()))
    reconciler = control_plane(store, world)
    await settle(reconciler, asked.id)
    world.vpc_endpoints.clear()
    world.asked_for_endpoints.clear()
    await settle(reconciler, asked.id)
    assert await status(store, asked.id) is Status.AVAILABLE
    assert world.asked_for_endpoints == []


async def test_endpoints_that_are_there_already_make_no_pending(
    store: EnvironmentStore, pool: Pool, asked: Environment
) -> None:
    world = World(vpc_endpoints=set(services(asked).values()))
    await settle(control_plane(store, world), asked.id)
    assert await statuses(pool, asked.id) == ["AVAILABLE"]


async def test_a_delete_while_pending_leaves_nothing_but_the_owners_endpoints(
    store: EnvironmentStore, asked: Environment
) -> None:
    database, _ = services(asked).values()
    world = World(vpc_endpoints={database})
    reconciler = control_plane(store, world)
    await passes(reconciler, asked.id)
    assert await status(store, asked.id) is Status.PENDING
    await delete(store, asked.id)
    await settle(reconciler, asked.id)
    assert await status(store, asked.id) is None
    assert world.left_of(asked.id) == []
    assert world.vpc_endpoints == {database}


@pytest.mark.parametrize("there", [False, True])
async def test_an_ec2_that_is_away_changes_no_status(store: EnvironmentStore, asked: Environment, there: bool) -> None:
    """Neither that of a create that hasn't asked it yet nor that of one that is PENDING."""
    world = World()
    reconciler = control_plane(store, world)
    if there:
        await passes(reconciler, asked.id)
    world.ec2 = Temporary("EC2 can't be asked now", 0.0)
    await passes(reconciler, asked.id)
    assert await status(store, asked.id) is (Status.PENDING if there else Status.CREATING)
    assert told(world, "step.waiting")[-1] == "EC2 can't be asked now"
    world.ec2 = None
    world.vpc_endpoints |= set(services(asked).values())
    await settle(reconciler, asked.id)
    assert await status(store, asked.id) is Status.AVAILABLE


@pytest.mark.parametrize("there", [False, True])
async def test_a_subnet_that_is_gone_fails_the_create(store: EnvironmentStore, asked: Environment, there: bool) -> None:
    world = World()
    reconciler = control_plane(store, world)
    if there:
        await passes(reconciler, asked.id)
    world.ec2 = Permanent("The subnet ID 'subnet-a' does not exist")
    await settle(reconciler, asked.id)
    row = await store.by_id(asked.id)
    assert row is not None
    assert row.status is Status.CREATE_FAILED
    assert row.last_update is not None
    assert row.last_update.error_message == "The subnet ID 'subnet-a' does not exist"
    assert world.left_of(asked.id) == ["database", "broker"], "as after every failed create"


class Clocks:
    """The control plane's two: what is written down, and what decides."""

    def __init__(self) -> None:
        self.now, self.monotonic = NOW, 0.0

    def reconciler(self, store: EnvironmentStore, world: World) -> Reconciler:
        def now() -> datetime:
            return self.now

        return Reconciler(
            store, world, world.services(), world, now=now, create_timeout=600, clock=lambda: self.monotonic
        )

    def advance(self, **time: float) -> None:
        self.now += timedelta(**time)
        self.monotonic += timedelta(**time).total_seconds()


async def test_after_72_hours_the_create_has_failed_and_says_what_was_missing(
    store: EnvironmentStore, asked: Environment
) -> None:
    world, clocks = World(), Clocks()
    reconciler = clocks.reconciler(store, world)
    await passes(reconciler, asked.id)
    clocks.advance(hours=71)
    await passes(reconciler, asked.id)
    assert await status(store, asked.id) is Status.PENDING
    clocks.advance(hours=1, minutes=1)
    await settle(reconciler, asked.id)
    row = await store.by_id(asked.id)
    assert row is not None
    assert row.status is Status.CREATE_FAILED
    assert row.last_update is not None
    message = row.last_update.error_message or ""
    assert message.startswith("It was PENDING for 72 hours")
    assert all(service in message for service in services(asked).values())


async def test_the_72_hours_go_on_while_control_planes_come_and_go(store: EnvironmentStore, asked: Environment) -> None:
    world, clocks = World(), Clocks()
    for _ in range(10):
        reconciler = clocks.reconciler(store, world)
        await passes(reconciler, asked.id)
        assert await status(store, asked.id) is Status.PENDING
        clocks.advance(hours=8)
        await passes(reconciler, asked.id)
    assert await status(store, asked.id) is Status.CREATE_FAILED


@pytest.mark.parametrize("days", [-400, 400])
async def test_a_clock_that_is_set_wrongly_for_a_while_ends_nothing(
    store: EnvironmentStore, asked: Environment, days: int
) -> None:
    """At boot, say, until it is set by the network."""
    world, clocks = World(), Clocks()
    await passes(clocks.reconciler(store, world), asked.id)
    clocks.now += timedelta(days=days)
    await passes(clocks.reconciler(store, world), asked.id)
    clocks.now -= timedelta(days=days)
    clocks.advance(hours=2)
    await passes(clocks.reconciler(store, world), asked.id)
    assert await status(store, asked.id) is Status.PENDING


# -- kills -------------------------------------------------------------------------------------------------------------


async def life(store: EnvironmentStore, world: World, asked: Environment, reconciler: Reconciler) -> None:
    """It waits, its owner makes the endpoints, it becomes AVAILABLE; from wherever it stands."""
    await passes(reconciler, asked.id)
    world.vpc_endpoints |= set(services(asked).values())
    await settle(reconciler, asked.id)


async def left(store: EnvironmentStore, world: World, environment_id: str) -> Mapping[str, object]:
    row = await store.by_id(environment_id)
    assert row is not None
    assert row.last_update is not None
    observed = await world.backend.observe(environment_id)
    return {
        "row": (row.status, row.desired, row.applied, row.runtime, row.last_update.status),
        "components": sorted((name, state.phase) for name, state in observed.items()),
        "left": world.left_of(environment_id),
    }


_calm: dict[str, object] = {}


async def undisturbed(store: EnvironmentStore) -> Mapping[str, object]:
    """What is left when nothing disturbs it; lived once."""
    if not _calm:
        world, asked = World(), customers(250)
        await store.insert(asked, "127.83.4.250", SECRETS)
        await life(store, world, asked, control_plane(store, world))
        _calm.update(await left(store, world, asked.id))
    return _calm


def held_back() -> set[str]:
    """The steps that wait for the endpoints."""
    found = {"await_endpoints"}
    for step in STEPS[Goal.RUN]:
        if found & set(step.needs):
            found.add(step.name)
    return found - {"await_endpoints"}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", [step.name for step in STEPS[Goal.RUN] if step.name not in held_back()])
async def test_a_kill_at_every_step_in_pending_makes_no_difference(
    store: EnvironmentStore, pool: Pool, monkeypatch: pytest.MonkeyPatch, asked: Environment, step: str, moment: str
) -> None:
    expected, world, kill = await undisturbed(store), World(), Killed()
    given = (kill, None) if moment == "before" else (None, kill)
    monkeypatch.setitem(STEPS, Goal.RUN, steps_with(Goal.RUN, step, *given, during=Status.PENDING))
    with pytest.raises(Killed):
        await passes(control_plane(store, world), asked.id)
    assert await status(store, asked.id) is Status.PENDING
    await life(store, world, asked, control_plane(store, world))
    assert await left(store, world, asked.id) == expected
    assert await statuses(pool, asked.id) == ["PENDING", "CREATING", "AVAILABLE"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("after", [False, True])
async def test_a_kill_at_every_change_from_the_create_to_available_makes_no_difference(
    store: EnvironmentStore, pool: Pool, after: bool
) -> None:
    expected = await undisturbed(store)

    async def disturbed(mortal: Mortal, number: int) -> tuple[World, Environment]:
        world, asked = World(), customers(number)
        await store.insert(asked, f"127.83.4.{number}", SECRETS)
        with suppress(Killed):
            await life(store, world, asked, mortal.control_plane(store, world))
        return world, asked

    counter = Mortal()
    await disturbed(counter, 1)
    assert counter.changes >= len(STEPS[Goal.RUN])
    for number in range(2, counter.changes + 2):
        mortal = Mortal(at=number - 2, after=after)
        world, asked = await disturbed(mortal, number)
        await life(store, world, asked, control_plane(store, world))
        assert await left(store, world, asked.id) == expected, f"after a kill at {mortal.last}"
        assert await statuses(pool, asked.id) == ["PENDING", "CREATING", "AVAILABLE"], f"after a kill at {mortal.last}"


@pytest.mark.parametrize("after", [False, True])
async def test_a_kill_at_every_change_of_a_delete_while_pending_leaves_nothing(
    store: EnvironmentStore, pool: Pool, after: bool
) -> None:
    async def disturbed(mortal: Mortal, number: int) -> tuple[World, Environment]:
        world, asked = World(), customers(number)
        await store.insert(asked, f"127.83.4.{number}", SECRETS)
        await passes(control_plane(store, world), asked.id)
        await delete(store, asked.id)
        with suppress(Killed):
            await settle(mortal.control_plane(store, world), asked.id)
        return world, asked

    counter = Mortal()
    await disturbed(counter, 1)
    for number in range(2, counter.changes + 2):
        mortal = Mortal(at=number - 2, after=after)
        world, asked = await disturbed(mortal, number)
        await settle(control_plane(store, world), asked.id)
        assert await status(store, asked.id) is None, f"after a kill at {mortal.last}"
        assert world.left_of(asked.id) == [], f"after a kill at {mortal.last}"
        assert await statuses(pool, asked.id) == ["PENDING", "DELETED"], f"after a kill at {mortal.last}"

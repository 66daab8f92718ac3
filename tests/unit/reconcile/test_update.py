"""An update as the reconciler lives through it: what is replaced, when, and what becomes of one that fails."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from aerodrome.backends.fake import drains_for, failing, never, never_drains, slow
from aerodrome.domain.component import Phase
from aerodrome.domain.environment import Environment, Status
from aerodrome.errors import Permanent
from aerodrome.reconcile.reconciler import Reconciler
from aerodrome.store.database import Pool
from aerodrome.store.environments import EnvironmentStore
from support.reconciling import (
    FOR_ALL,
    FOR_SCHEDULER,
    ROUNDS,
    control_plane,
    delete,
    names,
    planned,
    row_of,
    settle,
    status,
    update,
)
from support.world import NOW, World


async def test_it_ends_available_and_applied(store: EnvironmentStore, available: tuple[World, Environment]) -> None:
    world, before = available
    await update(store, before.id, **FOR_ALL)
    await settle(control_plane(store, world), before.id)
    row = await row_of(store, before)
    assert row.status is Status.AVAILABLE
    assert row.applied == row.desired == {**before.desired, **FOR_ALL}
    assert row.fallback is None
    assert row.last_update is not None
    assert (row.last_update.status, row.last_update.source) == ("SUCCESS", "UpdateEnvironment")
    assert names(world, before) == set(planned(world, before, **FOR_ALL).values())
    assert names(world, before).isdisjoint(planned(world, before).values())


async def test_only_what_reads_an_option_is_replaced(
    store: EnvironmentStore, available: tuple[World, Environment]
) -> None:
    world, before = available
    running = dict(world.backend.components[before.id])
    await update(store, before.id, **FOR_SCHEDULER)
    await settle(control_plane(store, world), before.id)
    after = world.backend.components[before.id]
    kept = {name for name in running if not name.startswith("scheduler-")}
    assert {name for name in after if name in running} == kept
    assert all(after[name] is running[name] for name in kept), "not one of them was touched"


async def test_more_workers_leave_the_first_alone_and_fewer_drain_the_last(
    store: EnvironmentStore, available: tuple[World, Environment]
) -> None:
    world, before = available
    await update(store, before.id, MinWorkers=3)
    await settle(control_plane(store, world), before.id)
    first = planned(world, before)
    assert set(first.values()) < names(world, before)
    assert len(names(world, before)) == len(first) + 2
    await update(store, before.id, MinWorkers=1)
    await settle(control_plane(store, world), before.id)
    assert names(world, before) == set(first.values())


async def test_what_touches_no_component_starts_none(
    store: EnvironmentStore, available: tuple[World, Environment]
) -> None:
    world, before = available
    running = dict(world.backend.components[before.id])
    await update(store, before.id, MaxWorkers=20, WeeklyMaintenanceWindowStart="MON:00:30")
    await settle(control_plane(store, world), before.id)
    assert world.backend.components[before.id] == running
    row = await row_of(store, before)
    assert (row.status, row.applied) == (Status.AVAILABLE, row.desired)


async def test_available_means_that_what_replaces_no_component_is_in_force_too(
    store: EnvironmentStore, available: tuple[World, Environment]
) -> None:
    """The access mode: applied while it is UPDATING still, and not before it can no longer be rolled back."""
    world, before = available
    running = set(world.backend.components[before.id])
    await update(store, before.id, WebserverAccessMode="PUBLIC_ONLY")
    reconciler, seen = control_plane(store, world), list[tuple[Status, str | None]]()
    for _ in range(ROUNDS):
        again = await reconciler.reconcile(before.id)
        seen.append(((await row_of(store, before)).status, world.modes[before.id]))
        if again is None:
            break
    assert set(world.backend.components[before.id]) == running, "none was replaced"
    assert seen[0] == (Status.UPDATING, None)
    assert next(each for each in seen if each[0] is Status.AVAILABLE) == (Status.AVAILABLE, "PUBLIC_ONLY")


async def test_an_update_with_nothing_in_it_replaces_all_in_the_current_runtime(
    store: EnvironmentStore, available: tuple[World, Environment]
) -> None:
    world, before = available
    old, world.current = names(world, before), "3.3.1-patched"
    await update(store, before.id)
    await settle(control_plane(store, world), before.id)
    row = await row_of(store, before)
    assert (row.status, row.runtime, row.applied) == (Status.AVAILABLE, "3.3.1-patched", before.applied)
    assert old.isdisjoint(names(world, before))
    assert len(names(world, before)) == len(old)
    second = names(world, before)
    await update(store, before.id)
    await settle(control_plane(store, world), before.id)
    assert second.isdisjoint(names(world, before))


async def test_any_other_update_leaves_the_runtime(
    store: EnvironmentStore, available: tuple[World, Environment]
) -> None:
    world, before = available
    world.current = "3.3.1-patched"
    await update(store, before.id, **FOR_ALL)
    await settle(control_plane(store, world), before.id)
    assert (await row_of(store, before)).runtime == before.runtime


async def test_the_old_ones_run_and_serve_until_the_new_ones_are_healthy(
    store: EnvironmentStore, available: tuple[World, Environment]
) -> None:
    world, before = available
    old = planned(world, before)
    world.sick["webserver-1"] = "does not answer yet"
    await update(store, before.id, **FOR_ALL)
    reconciler = control_plane(store, world)
    for _ in range(10):
        await reconciler.reconcile(before.id)
    states = await world.backend.observe(before.id)
    assert {states[name].phase for name in old.values()} == {Phase.RUNNING}
    assert world.ways[before.id] == [old["webserver-1"]]
    assert await status(store, before.id) is Status.UPDATING
    world.sick.clear()
    await settle(reconciler, before.id)
    assert world.ways[before.id] == [planned(world, before, **FOR_ALL)["webserver-1"]]


async def test_requests_go_to_the_new_web_server_before_the_old_one_is_asked_to_stop(
    store: EnvironmentStore, available: tuple[World, Environment], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, before = available
    new, remove = planned(world, before, **FOR_ALL)["webserver-1"], world.backend.remove
    asked = list[list[str]]()

    async def watched(environment_id: str, name: str, *, force: bool = False) -> None:
        asked.append(world.ways[environment_id])
        await remove(environment_id, name, force=force)

    monkeypatch.setattr(type(world.backend), "remove", staticmethod(watched))
    await update(store, before.id, **FOR_ALL)
    await settle(control_plane(store, world), before.id)
    assert asked
    assert all(way == [new] for way in asked)


class TestStrategies:
    """A worker whose tasks take twenty looks; what the others do is over in one."""

    async def updated(
        self, store: EnvironmentStore, available: tuple[World, Environment], strategy: str | None
    ) -> tuple[World, Environment, Reconciler, str]:
        world, before = available
        old = planned(world, before)["worker-1"]
        world.backend.mode[old] = drains_for(20)
        params = {"WorkerReplacementStrategy": strategy} if strategy else {}
        await update(store, before.id, **FOR_ALL, **params)
        reconciler = control_plane(store, world)
        for _ in range(ROUNDS):
            if (await row_of(store, before)).applied != before.applied:
                break
            await reconciler.reconcile(before.id)
        return world, before, reconciler, old

    async def test_forced_kills_the_old_workers(
        self, store: EnvironmentStore, available: tuple[World, Environment]
    ) -> None:
        world, before, reconciler, old = await self.updated(store, available, "FORCED")
        assert old in names(world, before), "not before the new ones are healthy"
        await reconciler.reconcile(before.id)
        assert old not in names(world, before)
        await settle(reconciler, before.id)
        row = await row_of(store, before)
        assert row.last_update is not None
        assert (row.status, row.last_update.strategy) == (Status.AVAILABLE, "FORCED")

    async def test_graceful_waits_for_their_tasks(
        self, store: EnvironmentStore, available: tuple[World, Environment]
    ) -> None:
        world, before, reconciler, old = await self.updated(store, available, "GRACEFUL")
        for _ in range(10):
            await reconciler.reconcile(before.id)
            assert await status(store, before.id) is Status.UPDATING
        assert (await world.backend.observe(before.id))[old].phase is Phase.DRAINING
        await settle(reconciler, before.id)
        row = await row_of(store, before)
        assert row.last_update is not None
        assert (row.status, row.last_update.strategy) == (Status.AVAILABLE, "GRACEFUL")
        assert old not in names(world, before)

    async def test_without_one_they_finish_while_the_environment_is_available(
        self, store: EnvironmentStore, available: tuple[World, Environment]
    ) -> None:
        world, before, reconciler, old = await self.updated(store, available, None)
        for _ in range(5):
            await reconciler.reconcile(before.id)
        row = await row_of(store, before)
        assert row.last_update is not None
        assert (row.status, row.last_update.strategy) == (Status.AVAILABLE, None)
        assert (await world.backend.observe(before.id))[old].phase is Phase.DRAINING
        await settle(reconciler, before.id)
        assert old not in names(world, before)

    async def test_graceful_waits_longer_than_an_update_may_take(
        self, store: EnvironmentStore, available: tuple[World, Environment]
    ) -> None:
        world, before, _, old = await self.updated(store, available, "GRACEFUL")
        hours = itertools.count(step=3600)
        services, clock = world.services(), lambda: float(next(hours))
        late = Reconciler(store, world, services, world, now=lambda: NOW, create_timeout=600, clock=clock)
        for _ in range(3):
            await late.reconcile(before.id)
            assert await status(store, before.id) is Status.UPDATING
        assert old in names(world, before)
        await settle(late, before.id)
        assert await status(store, before.id) is Status.AVAILABLE

    @pytest.mark.parametrize("strategy", ["GRACEFUL", None])
    async def test_after_twelve_hours_a_worker_is_ended_whatever_it_does(
        self, store: EnvironmentStore, available: tuple[World, Environment], strategy: str | None
    ) -> None:
        now = [0.0]
        available[0].backend.clock = lambda: now[0]
        world, before, reconciler, old = await self.updated(store, available, strategy)
        world.backend.mode[old] = never_drains()
        for _ in range(30):
            await reconciler.reconcile(before.id)
        now[0] = 12 * 3600 - 1
        await reconciler.reconcile(before.id)
        assert old in names(world, before)
        assert await status(store, before.id) is (Status.UPDATING if strategy else Status.AVAILABLE)
        now[0] = 12 * 3600
        await settle(reconciler, before.id)
        assert old not in names(world, before)
        assert await status(store, before.id) is Status.AVAILABLE

    async def test_what_ends_while_old_workers_finish_fails_no_update(
        self, store: EnvironmentStore, available: tuple[World, Environment]
    ) -> None:
        """Every component was healthy with it: from then on it is trouble of an environment that is updated."""
        world, before, reconciler, old = await self.updated(store, available, "GRACEFUL")
        await reconciler.reconcile(before.id)
        world.backend.mode["scheduler-1"] = failing("killed")
        for _ in range(3):
            await reconciler.reconcile(before.id)
        row = await row_of(store, before)
        assert (row.status, row.applied) == (Status.AVAILABLE, row.desired)
        assert ("error", "scheduler-1 keeps ending by itself (killed).") in world.told
        assert old in names(world, before)

    async def test_what_was_forced_once_is_not_forced_for_ever(
        self, store: EnvironmentStore, available: tuple[World, Environment]
    ) -> None:
        """A replacement that nobody asked for, since a release of ours changed, drains."""
        world, before, reconciler, _ = await self.updated(store, available, "FORCED")
        await settle(reconciler, before.id)
        worker = planned(world, before, **FOR_ALL)["worker-1"]
        world.backend.mode[worker], world.version = drains_for(20), "2"
        for _ in range(8):
            await reconciler.reconcile(before.id)
        assert await status(store, before.id) is Status.AVAILABLE
        assert (await world.backend.observe(before.id))[worker].phase is Phase.DRAINING


class TestFailure:
    async def fail(
        self, store: EnvironmentStore, available: tuple[World, Environment], **members: Any
    ) -> tuple[World, Environment]:
        world, before = available
        new = planned(world, before, **(members or FOR_ALL))["scheduler-1"]
        world.backend.mode[new] = failing("ended")
        world.backend.log[new] = "Traceback\nAirflowConfigException: no such thing"
        await update(store, before.id, **(members or FOR_ALL))
        return world, before

    async def test_it_rolls_back_and_says_why(
        self, store: EnvironmentStore, available: tuple[World, Environment]
    ) -> None:
        running = dict(available[0].backend.components[available[1].id])
        world, before = await self.fail(store, available)
        await settle(control_plane(store, world), before.id)
        row = await row_of(store, before)
        assert row.status is Status.UPDATE_FAILED
        assert row.applied == row.desired == before.desired
        assert row.last_update is not None
        assert (row.last_update.status, row.last_update.error_code) == ("FAILED", "INCORRECT_CONFIGURATION")
        assert "no such thing" in (row.last_update.error_message or "")
        after = world.backend.components[before.id]
        assert after == running
        assert all(after[name] is was for name, was in running.items()), "what ran before was never touched"

    async def test_values_of_options_stay_out_of_the_error_and_of_the_history(
        self, store: EnvironmentStore, available: tuple[World, Environment], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Airflow repeats what it can't use."""
        world, before = available
        given = {
            "AirflowConfigurationOptions": {"mine.password": "hunter2", "core.default_task_retries": "correct horse"}
        }
        new = planned(world, before, **given)["scheduler-1"]
        world.backend.mode[new] = failing("last words: no number: 'correct horse'")
        world.backend.log[new] = "ValueError: 'correct horse'\nwith password hunter2"
        await update(store, before.id, **given)
        await settle(control_plane(store, world), before.id)
        row = await row_of(store, before)
        assert row.last_update is not None
        message = row.last_update.error_message or ""
        assert "ValueError: '<core.default_task_retries>'\nwith password <mine.password>" in message
        written = f"{message}{world.told}{caplog.text}"
        assert "correct horse" not in written
        assert "hunter2" not in written

    async def test_its_statuses_are_told(
        self, store: EnvironmentStore, available: tuple[World, Environment], pool: Pool
    ) -> None:
        world, before = await self.fail(store, available)
        await settle(control_plane(store, world), before.id)
        async with pool.connection() as connection:
            rows = await connection.execute("SELECT message FROM events WHERE type = 'status.changed' ORDER BY id")
            told = [row["message"] for row in await rows.fetchall()]
        assert told[1:] == ["ROLLING_BACK", "UPDATE_FAILED"]
        assert ("error", "scheduler-1 keeps ending by itself (ended).") in world.told

    async def test_it_can_be_updated_again(self, store: EnvironmentStore, available: tuple[World, Environment]) -> None:
        world, before = await self.fail(store, available)
        await settle(control_plane(store, world), before.id)
        await update(store, before.id, **FOR_SCHEDULER)
        await settle(control_plane(store, world), before.id)
        row = await row_of(store, before)
        assert row.status is Status.AVAILABLE
        assert row.last_update is not None
        assert (row.last_update.status, row.last_update.error_message) == ("SUCCESS", None)

    async def test_it_takes_too_long(self, store: EnvironmentStore, available: tuple[World, Environment]) -> None:
        world, before = available
        world.backend.mode[planned(world, before, **FOR_ALL)["worker-1"]] = never()
        await update(store, before.id, **FOR_ALL)
        seconds = itertools.count(step=100)
        clock = lambda: float(next(seconds))  # noqa: E731
        services = world.services()
        reconciler = Reconciler(store, world, services, world, now=lambda: NOW, create_timeout=900, clock=clock)
        for _ in range(ROUNDS):
            await reconciler.reconcile(before.id)
        row = await row_of(store, before)
        assert row.status is Status.UPDATE_FAILED
        assert row.last_update is not None
        assert "900 s after its update" in (row.last_update.error_message or "")
        assert "Starting worker-1" in (row.last_update.error_message or "")

    async def test_one_that_starts_everything_anew_goes_back_to_the_runtime_it_had(
        self, store: EnvironmentStore, available: tuple[World, Environment]
    ) -> None:
        world, before = available
        running, world.current = names(world, before), "3.3.1-patched"
        world.sick["worker-1"] = "not yet"
        await update(store, before.id)
        reconciler = control_plane(store, world)
        for _ in range(5):
            await reconciler.reconcile(before.id)
        (new,) = {name for name in names(world, before) - running if name.startswith("scheduler-")}
        world.backend.mode[new] = failing("ended")
        await reconciler.reconcile(before.id)
        world.sick.clear()
        await settle(reconciler, before.id)
        row = await row_of(store, before)
        assert (row.status, row.runtime, row.revision) == (Status.UPDATE_FAILED, before.runtime, before.revision)
        assert names(world, before) == running

    async def test_what_cannot_go_back_is_unavailable_until_it_is_well(
        self, store: EnvironmentStore, available: tuple[World, Environment]
    ) -> None:
        world, before = await self.fail(store, available)
        world.backend.mode[planned(world, before)["scheduler-1"]] = failing("the machine is ill")
        reconciler = control_plane(store, world)
        for _ in range(10):
            await reconciler.reconcile(before.id)
        row = await row_of(store, before)
        assert row.status is Status.UNAVAILABLE
        assert row.last_update is not None
        assert "no such thing" in (row.last_update.error_message or ""), "why the update failed, not what came later"
        assert ("error", "scheduler-1 keeps ending by itself (the machine is ill).") in world.told
        del world.backend.mode[planned(world, before)["scheduler-1"]]
        await settle(reconciler, before.id)
        assert await status(store, before.id) is Status.UPDATE_FAILED
        assert names(world, before) == set(planned(world, before).values())

    async def test_what_can_no_longer_be_planned_is_unavailable(
        self, store: EnvironmentStore, available: tuple[World, Environment]
    ) -> None:
        world, before = available
        await update(store, before.id, **FOR_ALL)
        world.unplannable = True
        reconciler = control_plane(store, world)
        for _ in range(3):
            await reconciler.reconcile(before.id)
        assert await status(store, before.id) is Status.UNAVAILABLE
        world.unplannable = False
        await settle(reconciler, before.id)
        assert await status(store, before.id) is Status.UPDATE_FAILED

    async def test_a_roll_back_that_takes_too_long(
        self, store: EnvironmentStore, available: tuple[World, Environment]
    ) -> None:
        world, before = await self.fail(store, available)
        world.sick["webserver-1"] = "does not answer"
        await control_plane(store, world).reconcile(before.id)
        seconds = itertools.count(step=100)
        clock = lambda: float(next(seconds))  # noqa: E731
        services = world.services()
        reconciler = Reconciler(store, world, services, world, now=lambda: NOW, create_timeout=900, clock=clock)
        for _ in range(ROUNDS):
            await reconciler.reconcile(before.id)
        assert await status(store, before.id) is Status.UNAVAILABLE
        assert any("900 s after its roll back" in message for kind, message in world.told if kind == "error")
        world.sick.clear()
        await settle(reconciler, before.id)
        assert await status(store, before.id) is Status.UPDATE_FAILED


@pytest.mark.parametrize("passes", range(12))
@pytest.mark.parametrize("fails", [False, True])
async def test_delete_at_any_moment_of_an_update_leaves_nothing(
    store: EnvironmentStore, available: tuple[World, Environment], passes: int, fails: bool
) -> None:
    world, before = available
    for name in planned(world, before).values():
        world.backend.mode[name] = drains_for(100)
    if fails:
        world.backend.mode[planned(world, before, **FOR_ALL)["scheduler-1"]] = failing("ended")
    world.backend.mode.setdefault(planned(world, before, **FOR_ALL)["webserver-1"], slow(3))
    await update(store, before.id, **FOR_ALL, WorkerReplacementStrategy="GRACEFUL")
    reconciler = control_plane(store, world)
    for _ in range(passes):
        await reconciler.reconcile(before.id)
    await delete(store, before.id)
    await settle(reconciler, before.id)
    assert await status(store, before.id) is None
    assert world.left_of(before.id) == []


async def test_who_writes_at_the_same_moment_is_not_overwritten(
    store: EnvironmentStore, available: tuple[World, Environment]
) -> None:
    """Whoever writes between the pass's read and its write."""
    world, before = available
    problems = world.problems
    wrote = list[int]()

    async def writing(*arguments: Any) -> Any:
        row = await row_of(store, before)
        if not wrote:
            wrote.append(row.generation)
            assert await store.update(row, desired={**row.desired, "MaxWorkers": 7}) is not None
        return await problems(*arguments)

    world.problems = writing  # type: ignore[method-assign]
    await update(store, before.id, **FOR_ALL)
    await settle(control_plane(store, world), before.id)
    row = await row_of(store, before)
    assert wrote
    assert row.applied == row.desired == {**before.desired, **FOR_ALL, "MaxWorkers": 7}


async def test_a_failed_environment_tells_nothing_new(
    store: EnvironmentStore, available: tuple[World, Environment]
) -> None:
    world, before = available
    world.backend.mode[planned(world, before, **FOR_ALL)["scheduler-1"]] = failing("ended")
    await update(store, before.id, **FOR_ALL)
    await settle(control_plane(store, world), before.id)
    told = len(world.told)
    for _ in range(3):
        await settle(control_plane(store, world), before.id)
    assert len(world.told) == told


async def test_without_any_runtime_an_update_fails_and_nothing_stops(
    store: EnvironmentStore, available: tuple[World, Environment]
) -> None:
    world, before = available
    running, pin = dict(world.backend.components[before.id]), world.pin

    async def none(version: str, pinned: str | None) -> str:
        if pinned is None:
            raise Permanent("Airflow 3.3.1 needs Python 3.12, and none was found. Install one.")
        return await pin(version, pinned)

    world.pin = none  # type: ignore[method-assign]
    await update(store, before.id)
    await settle(control_plane(store, world), before.id)
    row = await row_of(store, before)
    assert row.status is Status.UPDATE_FAILED
    assert row.last_update is not None
    assert "Install one." in (row.last_update.error_message or "")
    assert world.backend.components[before.id] == running

"""Updates while workers of an earlier one still finish; what becomes of those who are not replaced."""

from __future__ import annotations

from aerodrome.backends.fake import drains_for, failing
from aerodrome.domain.component import Phase
from aerodrome.domain.environment import Environment, Status
from aerodrome.store.environments import EnvironmentStore
from support.reconciling import FOR_ALL, FOR_SCHEDULER, FOR_WORKER, control_plane, planned, settle, status, update
from support.world import World


class TestUndone:
    """An update of the workers, undone while the first worker still finishes its tasks, which takes long."""

    async def undone(self, store: EnvironmentStore, available: tuple[World, Environment]) -> tuple[World, str]:
        world, before = available
        old = planned(world, before)["worker-1"]
        world.backend.mode[old] = drains_for(150)
        for options in (FOR_WORKER["AirflowConfigurationOptions"], before.desired["AirflowConfigurationOptions"]):
            await update(store, before.id, AirflowConfigurationOptions=options)
            reconciler = control_plane(store, world)
            for _ in range(10):
                await reconciler.reconcile(before.id)
            assert await status(store, before.id) is Status.AVAILABLE
        return world, old

    async def test_what_never_changed_is_never_restarted(
        self, store: EnvironmentStore, available: tuple[World, Environment]
    ) -> None:
        world, before = available
        running = dict(world.backend.components[before.id])
        _, old = await self.undone(store, available)
        after = world.backend.components[before.id]
        assert all(after[name] is running[name] for name in running)
        assert after.keys() - running.keys() == {f"{old}x2"}, "its name is taken for as long as its tasks take"
        assert (await world.backend.observe(before.id))[old].phase is Phase.DRAINING

    async def test_who_got_another_name_keeps_it(
        self, store: EnvironmentStore, available: tuple[World, Environment]
    ) -> None:
        world, old = await self.undone(store, available)
        before = available[1]
        second = world.backend.components[before.id][f"{old}x2"]
        world.backend.mode[old] = drains_for(0)
        await settle(control_plane(store, world), before.id)
        after = world.backend.components[before.id]
        assert after[f"{old}x2"] is second
        assert old not in after
        await update(store, before.id, **FOR_SCHEDULER)
        await settle(control_plane(store, world), before.id)
        assert world.backend.components[before.id][f"{old}x2"] is second

    async def test_a_third_one_gets_a_third_name(
        self, store: EnvironmentStore, available: tuple[World, Environment]
    ) -> None:
        world, old = await self.undone(store, available)
        world.backend.mode[f"{old}x2"] = drains_for(150)
        await self.undone(store, available)
        states = await world.backend.observe(available[1].id)
        workers = {name: state.phase for name, state in states.items() if name.startswith(old)}
        assert workers == {old: Phase.DRAINING, f"{old}x2": Phase.DRAINING, f"{old}x3": Phase.RUNNING}

    async def test_one_that_fails_goes_back_to_who_got_another_name(
        self, store: EnvironmentStore, available: tuple[World, Environment]
    ) -> None:
        world, old = await self.undone(store, available)
        before = available[1]
        running = dict(world.backend.components[before.id])
        world.backend.mode[planned(world, before, **FOR_ALL)["scheduler-1"]] = failing("ended")
        await update(store, before.id, **FOR_ALL)
        for _ in range(10):
            await control_plane(store, world).reconcile(before.id)
        assert await status(store, before.id) is Status.UPDATE_FAILED
        after = world.backend.components[before.id]
        assert after.keys() == running.keys()
        assert after[f"{old}x2"] is running[f"{old}x2"]


async def test_old_workers_keep_their_connections_while_they_finish(
    store: EnvironmentStore, available: tuple[World, Environment]
) -> None:
    """AVAILABLE again, the limit would fall to what the new components need."""
    world, before = available
    alone = world.limits[before.id]
    world.backend.mode[planned(world, before)["worker-1"]] = drains_for(20)
    await update(store, before.id, **FOR_ALL)
    reconciler = control_plane(store, world)
    for _ in range(10):
        await reconciler.reconcile(before.id)
    assert await status(store, before.id) is Status.AVAILABLE
    assert world.limits[before.id] > alone
    await settle(reconciler, before.id)
    assert world.limits[before.id] == alone


class TestOptionsOfOthers:
    """`core.parallelism` is the scheduler's; who isn't replaced for it knows it all the same, for DAGs that ask."""

    def known(self, world: World, made: Environment) -> dict[str, str | None]:
        running = world.backend.components[made.id].values()
        told = {each.component.slot: each.component for each in running if each.drained is None}
        return {slot: {**each.variables, **each.unread}.get("core.parallelism") for slot, each in told.items()}

    async def test_all_know_it_in_the_end(self, store: EnvironmentStore, available: tuple[World, Environment]) -> None:
        world, before = available
        assert self.known(world, before) == dict.fromkeys(planned(world, before), "7")
        await update(store, before.id, **FOR_SCHEDULER)
        await settle(control_plane(store, world), before.id)
        assert self.known(world, before) == dict.fromkeys(planned(world, before), "9")

    async def test_who_may_be_gone_back_to_is_not_told(
        self, store: EnvironmentStore, available: tuple[World, Environment]
    ) -> None:
        world, before = available
        world.sick["scheduler-1"] = "no heartbeat yet"
        await update(store, before.id, **FOR_SCHEDULER)
        reconciler = control_plane(store, world)
        for _ in range(5):
            await reconciler.reconcile(before.id)
        known = self.known(world, before)
        assert {known["worker-1"], known["webserver-1"]} == {"7"}
        world.backend.mode[planned(world, before, **FOR_SCHEDULER)["scheduler-1"]] = failing("ended")
        world.sick.clear()
        await settle(reconciler, before.id)
        assert await status(store, before.id) is Status.UPDATE_FAILED
        assert self.known(world, before) == dict.fromkeys(planned(world, before), "7")

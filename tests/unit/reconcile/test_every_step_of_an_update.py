"""As `test_every_step`, for an update that succeeds and for one that fails and goes back.

Every step of a pass, in UPDATING and in ROLLING_BACK; every change within a step, counted in lives that nothing
disturbed, one for each way in which old workers are replaced.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, replace

import pytest

from aerodrome.backends.fake import drains_for, failing
from aerodrome.domain import products
from aerodrome.domain.component import Phase
from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.lifecycle import Goal
from aerodrome.domain.products import Part
from aerodrome.errors import Permanent, Temporary
from aerodrome.reconcile.reconciler import STEPS
from aerodrome.reconcile.scope import Outcome, Scope, Step
from aerodrome.store.database import Pool
from aerodrome.store.environments import EnvironmentStore
from support.reconciling import Killed, Mortal, control_plane, settle, steps_with, update
from support.world import NEW_OBJECTS, OBJECTS, SECRETS, World, environment, made_of

CHANGED = {"AirflowConfigurationOptions": {"core.default_task_retries": "3"}, **NEW_OBJECTS}
STEP_NAMES = [step.name for step in STEPS[Goal.RUN]]
STRATEGIES = ("FORCED", "GRACEFUL", None)
ENDS = {Status.UPDATING: Status.AVAILABLE, Status.ROLLING_BACK: Status.UPDATE_FAILED}
DURING = list(ENDS)


@dataclass
class Life:
    """An environment that is AVAILABLE, and is asked for an update: one that fails if `during` is ROLLING_BACK."""

    store: EnvironmentStore
    world: World
    id: str
    during: Status

    async def begin(self, strategy: str | None) -> None:
        await settle(control_plane(self.store, self.world), self.id)
        row = await self.store.by_id(self.id)
        assert row is not None
        for component in self.world.plan(row, SECRETS).components:
            if component.slot == "worker-1":
                self.world.backend.mode[component.name] = drains_for(3)
        if self.during is Status.ROLLING_BACK:
            after = with_products(replace(row, desired={**row.desired, **CHANGED}))
            for component in self.world.plan(after, SECRETS).components:
                if component.slot == "scheduler-1":
                    self.world.backend.mode[component.name] = failing("No such option")
        await update(self.store, self.id, **CHANGED, **({"WorkerReplacementStrategy": strategy} if strategy else {}))

    async def end(self) -> dict[str, object]:
        """What a control plane, the first or the next, makes of it: all that there is once it has settled."""
        await settle(control_plane(self.store, self.world), self.id)
        row = await self.store.by_id(self.id)
        assert row is not None
        assert row.last_update is not None
        observed = await self.world.backend.observe(self.id)
        asked = row.last_update
        return {
            "row": (row.status, row.desired, row.applied, row.runtime, row.revision, row.fallback),
            "update": (asked.status, asked.error_code, asked.error_message, asked.source, asked.strategy),
            "components": {name: state.phase for name, state in observed.items()},
            "ways": self.world.ways[self.id],
            "made": row.made,
            "objects": self.world.objects[self.id],
            "left": self.world.left_of(self.id),
        }


def with_products(wanted: Environment) -> Environment:
    """As the row will be once all that it names is made."""
    for part in Part:
        recipe = products.recipe(wanted, part, wanted.runtime or "")
        assert recipe is not None
        product = made_of(part, wanted.desired[f"{part}S3ObjectVersion"])
        wanted = replace(wanted, made={**wanted.made, recipe: product})
    return wanted


@pytest.fixture
async def made(store: EnvironmentStore) -> Environment:
    fresh = environment(**OBJECTS)
    await store.insert(fresh, "127.83.1.1", SECRETS)
    return fresh


async def life(store: EnvironmentStore, during: Status, strategy: str | None, number: int = 0) -> Life:
    fresh = environment(f"n{number}", id_=f"{number:012x}", **OBJECTS)
    await store.insert(fresh, f"127.83.3.{number}", SECRETS)
    begun = Life(store, World(), fresh.id, during)
    await begun.begin(strategy)
    return begun


_undisturbed: dict[tuple[Status, str | None], dict[str, object]] = {}


async def undisturbed(store: EnvironmentStore, during: Status, strategy: str | None) -> dict[str, object]:
    """What is left when nothing disturbs it; lived once."""
    key = (during, strategy)
    if key not in _undisturbed:
        calm = await life(store, during, strategy, 250)
        _undisturbed[key] = await calm.end()
        assert _undisturbed[key]["row"][0] is ENDS[during]  # type: ignore[index]
        phases = _undisturbed[key]["components"].values()  # type: ignore[attr-defined]
        assert set(phases) == {Phase.RUNNING}
    return _undisturbed[key]


async def statuses(pool: Pool, environment_id: str) -> list[str]:
    """Those that its history tells of."""
    async with pool.connection() as connection:
        rows = await connection.execute(
            "SELECT message FROM events WHERE environment_id = %s AND type = 'status.changed' ORDER BY id",
            (environment_id,),
        )
        return [row["message"] for row in await rows.fetchall()]


@asynccontextmanager
async def kept(pool: Pool) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """What makes all that is written down as it is now: a life up to here need not be lived again."""
    tables = ("environments", "events")
    async with pool.connection() as connection:
        for table in tables:
            await connection.execute(f"CREATE TABLE kept_{table} AS TABLE {table}")

    async def restore() -> None:
        async with pool.connection() as connection:
            for table in tables:
                await connection.execute(f"DELETE FROM {table}")  # noqa: S608
                await connection.execute(
                    f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM kept_{table}"  # noqa: S608
                )

    try:
        yield restore
    finally:
        async with pool.connection() as connection:
            for table in tables:
                await connection.execute(f"DROP TABLE kept_{table}")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", STEP_NAMES)
@pytest.mark.parametrize("during", DURING)
async def test_a_kill_at_every_step_makes_no_difference(
    store: EnvironmentStore, monkeypatch: pytest.MonkeyPatch, during: Status, step: str, moment: str
) -> None:
    expected = await undisturbed(store, during, "GRACEFUL")
    begun, kill = await life(store, during, "GRACEFUL"), Killed()
    given = (kill, None) if moment == "before" else (None, kill)
    monkeypatch.setitem(STEPS, Goal.RUN, steps_with(Goal.RUN, step, *given, during=during))
    with pytest.raises(Killed):
        await begun.end()
    assert await begun.end() == expected


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("during", "strategy", "after"),
    [
        *((Status.UPDATING, each, False) for each in STRATEGIES),
        (Status.UPDATING, "GRACEFUL", True),
        *((Status.ROLLING_BACK, "FORCED", after) for after in (False, True)),
    ],
)
async def test_a_kill_at_every_change_makes_no_difference(
    store: EnvironmentStore, pool: Pool, during: Status, strategy: str | None, after: bool
) -> None:
    expected = await undisturbed(store, during, strategy)
    told = ["AVAILABLE", *(["ROLLING_BACK"] if during is Status.ROLLING_BACK else []), ENDS[during]]

    begun = await life(store, during, strategy)
    async with kept(pool) as restore:

        async def disturbed(mortal: Mortal) -> Life:
            await restore()
            again = replace(begun, world=deepcopy(begun.world))
            with suppress(Killed):
                await settle(mortal.control_plane(store, again.world), again.id)
            return again

        counter = Mortal()
        await disturbed(counter)
        assert counter.changes >= len(STEP_NAMES), "every step changes something, or says that it did"
        for number in range(counter.changes):
            mortal = Mortal(at=number, after=after)
            again = await disturbed(mortal)
            assert await again.end() == expected, f"after a kill at {mortal.last}"
            assert await statuses(pool, again.id) == told, f"after a kill at {mortal.last}"


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("during", DURING)
async def test_every_step_run_twice_makes_no_difference(
    store: EnvironmentStore, monkeypatch: pytest.MonkeyPatch, during: Status, strategy: str | None
) -> None:
    expected = await undisturbed(store, during, strategy)

    def twice(step: Step) -> Step:
        async def run(scope: Scope) -> Outcome:
            await step.run(scope)
            return await step.run(scope)

        return replace(step, run=run)

    begun = await life(store, during, strategy)
    monkeypatch.setitem(STEPS, Goal.RUN, tuple(map(twice, STEPS[Goal.RUN])))
    assert await begun.end() == expected


@pytest.mark.parametrize("error", [Temporary("away", 0.0), OSError(28, "No space left on device", "/x")])
@pytest.mark.parametrize("step", STEP_NAMES)
@pytest.mark.parametrize("during", DURING)
async def test_a_passing_failure_of_every_step_passes(
    store: EnvironmentStore, monkeypatch: pytest.MonkeyPatch, during: Status, step: str, error: Exception
) -> None:
    expected = await undisturbed(store, during, None)
    begun = await life(store, during, None)
    monkeypatch.setitem(STEPS, Goal.RUN, steps_with(Goal.RUN, step, error, None, during=during))
    assert await begun.end() == expected


# `remove_unused` runs when nothing can be rolled back any more.
@pytest.mark.parametrize("step", [name for name in STEP_NAMES if name != "remove_unused"])
async def test_a_permanent_failure_of_every_step_rolls_the_update_back(
    store: EnvironmentStore, made: Environment, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    begun = Life(store, World(), made.id, Status.UPDATING)
    await settle(control_plane(store, begun.world), made.id)
    before = await begun.end()
    await begun.begin(None)
    failure = Permanent("it can't work", "the last lines")
    monkeypatch.setitem(STEPS, Goal.RUN, steps_with(Goal.RUN, step, failure, None, during=Status.UPDATING))
    after = await begun.end()
    assert after["row"] == (Status.UPDATE_FAILED, *before["row"][1:])  # type: ignore[index]
    assert after["update"][:3] == ("FAILED", "INCORRECT_CONFIGURATION", "it can't work\nthe last lines")  # type: ignore[index]
    assert {name: after[name] for name in ("components", "ways")} == {
        name: before[name] for name in ("components", "ways")
    }


@pytest.mark.parametrize("step", STEP_NAMES)
async def test_a_permanent_failure_of_every_step_of_a_roll_back_is_unavailable_and_mends_itself(
    store: EnvironmentStore, monkeypatch: pytest.MonkeyPatch, pool: Pool, step: str
) -> None:
    expected = await undisturbed(store, Status.ROLLING_BACK, None)
    begun = await life(store, Status.ROLLING_BACK, None)
    failure = Permanent("it can't go back")
    monkeypatch.setitem(STEPS, Goal.RUN, steps_with(Goal.RUN, step, failure, None, during=Status.ROLLING_BACK))
    assert await begun.end() == expected
    told = ["AVAILABLE", "ROLLING_BACK", "UNAVAILABLE", "UPDATE_FAILED"]
    assert await statuses(pool, begun.id) == told

"""Driving a reconciler by hand, and killing it at any point of its work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.lifecycle import Goal
from aerodrome.domain.update import Update
from aerodrome.reconcile.ports import Services
from aerodrome.reconcile.reconciler import STEPS, Reconciler
from aerodrome.reconcile.scope import Outcome, Scope, Step
from aerodrome.store.environments import EnvironmentStore
from support.world import NOW, SECRETS, World

ROUNDS = 60
# Every verb of every port that changes the world.
CHANGES = frozenset(
    {"ensure", "make", "tell", "remove", "tidy", "forget", "drop", "keep", "record", "update", "delete"}
)


FOR_ALL = {"AirflowConfigurationOptions": {"core.default_task_retries": "3"}}
FOR_SCHEDULER = {"AirflowConfigurationOptions": {"core.parallelism": "9"}}
FOR_WORKER = {"AirflowConfigurationOptions": {"celery.worker_concurrency": "9", "core.parallelism": "7"}}


class Killed(BaseException):
    """`kill -9` of the control plane."""


def control_plane(
    store: EnvironmentStore, world: World, now: Callable[[], datetime] = lambda: NOW, timeout: float = 600
) -> Reconciler:
    return Reconciler(store, world, world.services(), world, now=now, create_timeout=timeout)


async def settle(reconciler: Reconciler, environment_id: str) -> None:
    """Pass after pass until it has nothing more to do."""
    for _ in range(ROUNDS):
        if await reconciler.reconcile(environment_id) is None:
            return
    raise AssertionError(f"not settled after {ROUNDS} passes")


async def status(store: EnvironmentStore, environment_id: str) -> Status | None:
    row = await store.by_id(environment_id)
    return row and row.status


async def delete(store: EnvironmentStore, environment_id: str) -> None:
    row = await store.by_id(environment_id)
    assert row is not None
    assert await store.update(row, status=Status.DELETING) is not None


async def update(store: EnvironmentStore, environment_id: str, **params: Any) -> Environment:
    """What UpdateEnvironment writes."""
    row = await store.by_id(environment_id)
    assert row is not None
    begun = await store.update(row, **Update.of(params).begin(row, NOW))
    assert begun is not None
    return begun


async def row_of(store: EnvironmentStore, made: Environment) -> Environment:
    row = await store.by_id(made.id)
    assert row is not None
    return row


def names(world: World, made: Environment) -> set[str]:
    return set(world.backend.components[made.id])


def planned(world: World, made: Environment, **members: Any) -> dict[str, str]:
    """Slot -> name, as after an update."""
    after = replace(made, desired={**made.desired, **members})
    return {component.slot: component.name for component in world.plan(after, SECRETS).components}


def steps_with(
    goal: Goal, at: str, before: BaseException | None, after: BaseException | None, during: Status | None = None
) -> tuple[Step, ...]:
    """The goal's steps; the one named fails the first time, before or after it did its work. `during`: in it alone."""
    used = {"before": before, "after": after}

    def wrap(step: Step) -> Step:
        async def run(scope: Scope) -> Outcome:
            if during is not None and scope.environment.status is not during:
                return await step.run(scope)
            if used["before"] is not None:
                error, used["before"] = used["before"], None
                raise error
            outcome = await step.run(scope)
            if used["after"] is not None:
                error, used["after"] = used["after"], None
                raise error
            return outcome

        return replace(step, run=run) if step.name == at else step

    return tuple(map(wrap, STEPS[goal]))


@dataclass
class Mortal:
    """Counts what changes the world and dies at the change numbered `at`, before or after it. None: never."""

    at: int | None = None
    after: bool = False
    changes: int = 0
    last: str = ""

    def wrap(self, part: Any, name: str) -> Any:
        return _Part(part, name, self)

    def control_plane(self, store: EnvironmentStore, world: World) -> Reconciler:
        services = world.services()
        wrapped = Services(**{name: self.wrap(getattr(services, name), name) for name in Services.__slots__})
        parts = self.wrap(store, "store"), world, wrapped, self.wrap(world, "journal")
        return Reconciler(*parts, now=lambda: NOW, create_timeout=600)


@dataclass
class _Part:
    part: Any
    name: str
    mortal: Mortal

    def __getattr__(self, verb: str) -> Any:
        found = getattr(self.part, verb)
        if verb not in CHANGES:
            return found

        async def change(*arguments: Any, **named: Any) -> Any:
            mortal = self.mortal
            number, mortal.changes, mortal.last = mortal.changes, mortal.changes + 1, f"{self.name}.{verb}"
            if number == mortal.at and not mortal.after:
                raise Killed
            result = await found(*arguments, **named)
            if number == mortal.at:
                raise Killed
            return result

        return change

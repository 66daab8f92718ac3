"""One pass over one environment: load, run the steps of its goal, write the status once."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from aerodrome.domain.endpoints import PATIENCE
from aerodrome.domain.environment import Environment, LastUpdate, Status
from aerodrome.domain.lifecycle import GOALS, Goal
from aerodrome.domain.plan import NOTHING, in_free_names
from aerodrome.domain.secrets import EnvironmentSecrets
from aerodrome.domain.update import roll_back
from aerodrome.errors import Permanent
from aerodrome.reconcile.discreet import DiscreetJournal, discreet
from aerodrome.reconcile.ports import Journal, Planner, Services
from aerodrome.reconcile.run import Result, run
from aerodrome.reconcile.scope import Scope
from aerodrome.reconcile.steps import REMOVE_STEPS, RUN_STEPS, STOP_STEPS
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.events import NewEvent

log = logging.getLogger(__name__)

STEPS = {Goal.RUN: RUN_STEPS, Goal.STOP: STOP_STEPS, Goal.REMOVE: REMOVE_STEPS}
_MESSAGE_LIMIT = 1024  # UpdateError.ErrorMessage (mwaa-spec 1.4)
_CODE = "INCORRECT_CONFIGURATION"  # UpdateError.ErrorCode, MWAA's only known one (mwaa-spec 1.6)
_LEASED_ELSEWHERE = 1.0
_SETTLED = (Status.AVAILABLE, Status.UPDATE_FAILED)  # nothing is under way: only what changes is worth telling
# What has to be healthy in time, and since when.
_TIMED = {Status.CREATING: "create", Status.UPDATING: "update", Status.ROLLING_BACK: "roll back"}
_ONE_CREATE = frozenset({Status.CREATING, Status.PENDING})  # from one to the other nothing is told again
_NO_SECRETS = EnvironmentSecrets("", "", "", "", "", "", "")  # of an environment that is closed
_COUNTS = re.compile(r"\d+")


@dataclass(slots=True)
class _Told:
    """What was already written to the journal; lost with the process, which costs a repeated line at most."""

    status: Status
    began: float  # on the monotonic clock: when we first looked at it in this status
    since: dict[str, float] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    events: dict[str, tuple[str, str]] = field(default_factory=dict)


class Reconciler:
    """`reconcile(id)` is the loop's function. `now` is the control plane's clock, in UTC, and only ever written down.

    What decides is `clock`, monotonic, in seconds: a clock that is set must not end a create.
    """

    def __init__(
        self,
        store: EnvironmentStore,
        planner: Planner,
        services: Services,
        journal: Journal,
        *,
        now: Callable[[], datetime],
        create_timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._planner = planner
        self._services = services
        self._journal = DiscreetJournal(journal)
        self._now = now
        self._create_timeout = create_timeout
        self._clock = clock
        self._told: dict[str, _Told] = {}

    async def reconcile(self, environment_id: str) -> float | None:
        """Bring the environment a step nearer to what its row says; seconds until the next look, or None."""
        async with self._store.lease(environment_id) as held:
            if not held:
                return _LEASED_ELSEWHERE
            environment = await self._store.by_id(environment_id)
            closed = environment is not None and environment.closed
            secrets = _NO_SECRETS if closed else await self._store.secrets(environment_id)
            if environment is None or secrets is None:
                self._told.pop(environment_id, None)
                return None
            goal = GOALS[environment.status]
            if environment.closed and goal is Goal.RUN:  # what runs runs on; what is to go can go without it
                return await self._fail(environment, Permanent(environment.closed))
            told = self._told_of(environment)
            try:
                if goal is Goal.RUN:
                    pinned = await self._pin(environment)
                    if pinned is None:
                        return 0.0  # somebody else wrote: look at what
                    environment = pinned
                observed = await self._services.backend.observe(environment_id)
                plan = NOTHING
                if goal is Goal.RUN:
                    plan = in_free_names(self._planner.plan(environment, secrets), observed)
                scope = Scope(environment, secrets, plan, observed, self._services)
                result = await run(STEPS[goal], scope)
                await self._tell(environment, goal, told, result)
                if result.failed is not None:
                    again = await self._fail(environment, result.failed)
                    return min(again, result.again_after) if result.waiting else again
                return await self._conclude(environment, goal, result)
            except Permanent as error:
                return await self._fail(environment, error)

    async def _pin(self, environment: Environment) -> Environment | None:
        """The environment with the runtime that it stays in; None when somebody wrote to its row in the meantime."""
        runtime = await self._services.runtimes.pin(environment.desired["AirflowVersion"], environment.runtime)
        if runtime == environment.runtime:
            return environment
        before, message = environment.runtime, f"{runtime} takes its place."
        if before is not None:
            message = f"Its runtime {before} can't be used any more, nor made again here: {message}"
        elif environment.fallback is not None:  # an update that starts everything anew
            before, message = environment.fallback.runtime, f"Its runtime is replaced by the current one: {runtime}."
        event = None
        if before is not None and before != runtime:
            event = NewEvent("runtime.changed", message, data={"from": before, "to": runtime})
        return await self._store.update(environment, event, runtime=runtime)

    async def _conclude(self, environment: Environment, goal: Goal, result: Result) -> float | None:
        if goal is Goal.REMOVE and result.converged:
            data = {"from": environment.status, "to": Status.DELETED}
            await self._store.delete(environment.id, NewEvent("status.changed", Status.DELETED, data=data))
            self._told.pop(environment.id, None)
            return None
        if environment.fallback is not None and "check_health" in result.done:
            # From here on nothing is rolled back: what ran before may go, and what needs no new component (the access
            # mode, told options) comes into force with the next pass. AVAILABLE only after that one.
            message = "Every component runs as the update wants it"
            event = NewEvent("update.applied", message if result.converged else f"{message}; the old ones go")
            await self._store.update(environment, event, applied=environment.desired, fallback=None)
            return 0.0
        if result.converged:
            return await self._converged(environment)
        if result.made:
            await self._store.update(environment, made={**environment.made, **result.made})
            return 0.0
        if result.status not in (None, environment.status):
            return await self._become(environment, result.status)
        late = self._clock() - self._told_of(environment).began > self._create_timeout
        if late and environment.status in _TIMED and "check_health" not in result.done:
            raise Permanent(
                f"It was not healthy {self._create_timeout:.0f} s after its {_TIMED[environment.status]}."
                f" Waiting for: {result.reasons}"
            )
        # By both clocks: the one that is written down may be set, the other begins anew with every control plane.
        if late and environment.status is Status.PENDING and self._now() - environment.created_at > PATIENCE:
            hours = PATIENCE.total_seconds() / 3600
            raise Permanent(f"It was PENDING for {hours:.0f} hours. {result.reasons}")
        return result.again_after

    async def _converged(self, environment: Environment) -> float | None:
        """All is as the row says: what that makes of its status."""
        match environment.status:
            case Status.CREATING:
                update = self._update("SUCCESS")
                return await self._become(
                    environment, Status.AVAILABLE, applied=environment.desired, last_update=update
                )
            case Status.UPDATING:
                return await self._updated(environment)
            case Status.ROLLING_BACK | Status.UNAVAILABLE:
                return await self._become(environment, Status.UPDATE_FAILED)
            case _:
                return None

    async def _updated(self, environment: Environment) -> float:
        asked = environment.last_update or self._update("PENDING")
        update = replace(asked, status="SUCCESS")
        return await self._become(
            environment, Status.AVAILABLE, applied=environment.desired, last_update=update, fallback=None
        )

    async def _fail(self, environment: Environment, error: Permanent) -> float:
        """What a failure for good makes of the status: a create fails, an update goes back, what runs runs on."""
        message = discreet(str(error) + (f"\n{error.detail.strip()}" if error.detail.strip() else ""), environment)
        told = self._told_of(environment)
        kind = _COUNTS.sub("#", str(error))  # "started 7 times" is no news after "started 6 times"
        if told.reasons.get("error") != kind:
            told.reasons["error"] = kind
            await self._journal.record(
                environment, "error", str(error), {"detail": discreet(error.detail, environment)[-8000:]}
            )
        match environment.status:
            case Status.CREATING | Status.PENDING:
                update = self._update("FAILED", _CODE, _shorten(message))
                return await self._become(environment, Status.CREATE_FAILED, last_update=update)
            case Status.UPDATING if environment.fallback is None:
                return await self._updated(environment)  # every component was well with it: this is a later trouble
            case Status.UPDATING:
                asked = environment.last_update or self._update("PENDING")
                update = replace(asked, status="FAILED", error_code=_CODE, error_message=_shorten(message))
                return await self._become(environment, last_update=update, **roll_back(environment))
            case Status.ROLLING_BACK:
                return await self._become(environment, Status.UNAVAILABLE)
            case _:
                log.error("Environment %s (%s): %s", environment.key.name, environment.status, message)
                return 30.0

    async def _become(self, environment: Environment, status: Status, **changes: object) -> float:
        """The pass's one write. Refused when somebody wrote since: the next look starts from what they wrote."""
        event = NewEvent("status.changed", str(status), data={"from": environment.status, "to": status})
        await self._store.update(environment, event, status=status, **changes)
        return 0.0

    def _update(self, status: str, code: str | None = None, message: str | None = None) -> LastUpdate:
        return LastUpdate(status, self._now(), error_code=code, error_message=message)

    def _told_of(self, environment: Environment) -> _Told:
        told = self._told.get(environment.id)
        if told is None or told.status is not environment.status:
            if told is not None and {told.status, environment.status} <= _ONE_CREATE:
                told = replace(told, status=environment.status, began=self._clock())
            else:
                told = _Told(environment.status, self._clock())
            self._told[environment.id] = told
        return told

    async def _tell(self, environment: Environment, goal: Goal, told: _Told, result: Result) -> None:
        """Write to the journal what changed since the last pass in this status; a steady state writes nothing."""
        now = self._clock()
        if result.converged:
            told.reasons.pop("error", None)
        for step in STEPS[goal]:
            note = result.notes.get(step.name, "")
            if note and told.notes.get(step.name) != note:
                await self._journal.record(environment, "unhealthy", note, {"step": step.name})
            told.notes[step.name] = note
            if step.name in result.waiting:
                if result.waiting[step.name].status not in (None, environment.status):
                    continue  # the new status says it
                why, event = result.waiting[step.name].why, result.waiting[step.name].event
                if event is not None and told.events.get(step.name) != event:
                    await self._journal.record(
                        environment, *event, {"step": step.name, **result.waiting[step.name].data}
                    )
                    told.events[step.name] = event
                told.since.setdefault(step.name, now)
                if environment.status in _SETTLED and step.name in told.done:
                    await self._journal.record(environment, "unhealthy", why, {"step": step.name})
                    told.done.discard(step.name)
                elif told.reasons.get(step.name) != why:
                    await self._journal.record(environment, "step.waiting", why, {"step": step.name})
                told.reasons[step.name] = why
            elif step.name in result.done and step.name not in told.done and step.name not in result.idle:
                told.done.add(step.name)
                told.events.pop(step.name, None)
                seconds = result.done[step.name] + now - told.since.pop(step.name, now)
                if environment.status not in _SETTLED or step.name in told.reasons:
                    data = {"step": step.name, "seconds": round(seconds, 2)}
                    await self._journal.record(environment, "step.finished", step.title, data)
                told.reasons.pop(step.name, None)


def _shorten(message: str) -> str:
    """The end matters most: that is where the reason stands."""
    return message if len(message) <= _MESSAGE_LIMIT else message[:200] + "\n…\n" + message[-(_MESSAGE_LIMIT - 203) :]

"""Running a list of steps once: the ones whose needs are met, in order, gathering what is left to wait for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from aerodrome.errors import Temporary
from aerodrome.reconcile.scope import Done, Scope, Step, Wait


@dataclass(slots=True)
class Result:
    """What a pass achieved. `took` is in seconds, of this pass alone."""

    done: dict[str, float] = field(default_factory=dict)
    waiting: dict[str, Wait] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)  # what is wrong although the step is done
    blocked: list[str] = field(default_factory=list)

    @property
    def converged(self) -> bool:
        return not self.waiting and not self.blocked

    @property
    def again_after(self) -> float:
        return min((wait.seconds for wait in self.waiting.values()), default=1.0)

    @property
    def reasons(self) -> str:
        return "; ".join(wait.why for wait in self.waiting.values())


async def run(steps: Sequence[Step], scope: Scope) -> Result:
    """Run every step whose needs are Done.

    A `Temporary` becomes a Wait, so that steps that don't depend on it go on.

    Raises:
        Permanent: from a step; the steps after it did not run.
    """
    result = Result()
    for step in steps:
        if not all(need in result.done for need in step.needs):
            result.blocked.append(step.name)
            continue
        started = time.monotonic()
        try:
            outcome = await step.run(scope)
        except Temporary as error:
            outcome = Wait(error.retry_after, str(error))
        if isinstance(outcome, Done):
            result.done[step.name] = time.monotonic() - started
            result.notes[step.name] = outcome.note
        else:
            result.waiting[step.name] = outcome
    return result

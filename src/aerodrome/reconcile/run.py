"""Running a list of steps once: the ones whose needs are met, in order, gathering what is left to wait for."""

from __future__ import annotations

import errno
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from aerodrome.domain.environment import Status
from aerodrome.domain.products import Product
from aerodrome.errors import Permanent, Temporary
from aerodrome.reconcile.scope import Done, Scope, Step, Wait

_TROUBLE = 5.0  # seconds until a disk that is full is tried again
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class Result:
    """What a pass achieved. `took` is in seconds, of this pass alone."""

    done: dict[str, float] = field(default_factory=dict)
    waiting: dict[str, Wait] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)  # what is wrong although the step is done
    idle: set[str] = field(default_factory=set)  # of those that are done: had nothing to do
    blocked: list[str] = field(default_factory=list)
    failed: Permanent | None = None  # the first of those that trying again doesn't mend

    @property
    def converged(self) -> bool:
        return not self.waiting and not self.blocked and self.failed is None

    @property
    def again_after(self) -> float:
        return min((wait.seconds for wait in self.waiting.values()), default=1.0)

    @property
    def status(self) -> Status | None:
        """What the environment is while it waits; None: what it was."""
        return next((wait.status for wait in self.waiting.values() if wait.status is not None), None)

    @property
    def made(self) -> dict[str, Product]:
        """Products that are new, by recipe."""
        return {recipe: product for wait in self.waiting.values() for recipe, product in wait.made.items()}

    @property
    def reasons(self) -> str:
        return "; ".join(wait.why for wait in self.waiting.values())


async def run(steps: Sequence[Step], scope: Scope) -> Result:
    """Run every step whose needs are Done.

    A step that fails, for a while or for good, keeps back those that need it and no others: what can't be taken down
    must not keep the rest running.
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
        except Permanent as error:
            result.failed = result.failed or error
            result.blocked.append(step.name)
            continue
        except OSError as error:
            outcome = Wait(_TROUBLE, _words(error))
        if isinstance(outcome, Done):
            result.done[step.name] = time.monotonic() - started
            result.notes[step.name] = outcome.note
            if outcome.idle:
                result.idle.add(step.name)
        else:
            result.waiting[step.name] = outcome
    return result


def _words(error: OSError) -> str:
    """For a person: what the system refused, and that we go on by ourselves once it no longer does."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in _FULL:
        return f"The disk is full{where}. Free some space; this goes on by itself then."
    if error.errno == errno.EROFS:
        return f"The file system can't be written{where}. Mount it writable; this goes on by itself then."
    return f"The system refused: {error.strerror or error}{where}"

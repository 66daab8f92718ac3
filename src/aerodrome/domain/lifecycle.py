"""Which operation is legal in which status, and what a status means for the reconciler (mwaa-spec 2.1)."""

from __future__ import annotations

from enum import StrEnum

from aerodrome.domain.environment import Status


class Goal(StrEnum):
    """What the reconciler works towards in a status."""

    RUN = "run"  # everything of the plan is there and healthy
    STOP = "stop"  # nothing runs, what was stored stays until it is deleted
    REMOVE = "remove"  # nothing is left, the row included


GOALS: dict[Status, Goal] = {
    Status.CREATING: Goal.RUN,
    Status.PENDING: Goal.RUN,
    Status.CREATE_FAILED: Goal.STOP,
    Status.AVAILABLE: Goal.RUN,
    Status.UPDATING: Goal.RUN,
    Status.CREATING_SNAPSHOT: Goal.RUN,
    Status.ROLLING_BACK: Goal.RUN,
    Status.UPDATE_FAILED: Goal.RUN,
    Status.UNAVAILABLE: Goal.RUN,
    Status.MAINTENANCE: Goal.RUN,
    Status.DELETING: Goal.REMOVE,
    Status.DELETED: Goal.REMOVE,
}

# Get and List are legal always. An operation that isn't here is legal in every status.
ALLOWED: dict[str, frozenset[Status]] = {
    "UpdateEnvironment": frozenset({Status.AVAILABLE, Status.UPDATE_FAILED}),
    "DeleteEnvironment": frozenset(Status) - {Status.DELETING, Status.DELETED},
    "CreateWebLoginToken": frozenset(
        {Status.AVAILABLE, Status.UPDATING, Status.UPDATE_FAILED, Status.MAINTENANCE, Status.CREATING_SNAPSHOT}
    ),
    "CreateCliToken": frozenset(
        {Status.AVAILABLE, Status.UPDATING, Status.UPDATE_FAILED, Status.MAINTENANCE, Status.CREATING_SNAPSHOT}
    ),
    "InvokeRestApi": frozenset(
        {Status.AVAILABLE, Status.UPDATING, Status.UPDATE_FAILED, Status.MAINTENANCE, Status.CREATING_SNAPSHOT}
    ),
}

_VERBS = {
    "UpdateEnvironment": "be updated",
    "DeleteEnvironment": "be deleted",
    "CreateWebLoginToken": "be signed in to",
    "CreateCliToken": "run CLI commands",
    "InvokeRestApi": "answer REST API calls",
}


def refusal(operation: str, status: Status) -> str | None:
    """Why the operation can't run in this status, in MWAA's words (mwaa-spec 1.6), or None when it can."""
    if status in ALLOWED.get(operation, frozenset(Status)):
        return None
    return f"Environments with {status} status cannot {_VERBS.get(operation, 'do this')}."

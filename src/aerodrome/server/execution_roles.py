"""Whose role the components of an environment get credentials of, and what is told when it gives none any more."""

from __future__ import annotations

import logging

from aerodrome.api.credentials import Holder
from aerodrome.errors import AerodromeError
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.events import EventStore

log = logging.getLogger(__name__)

REFUSED, GRANTED = "role.refused", "role.granted"


class ExecutionRoles:
    """What the credentials endpoint asks and tells: `api.credentials.Lookup` and `Tell`."""

    def __init__(self, store: EnvironmentStore, events: EventStore) -> None:
        self._store = store
        self._events = events
        self._refused: dict[str, str] = {}  # environment -> why, as it was told last

    async def holder(self, environment_id: str) -> Holder | None:
        """The role is that of the row: in an update, new credentials are of the new role from its first moment."""
        environment, secrets = await self._store.by_id(environment_id), await self._store.secrets(environment_id)
        if environment is None or secrets is None:
            return None
        return Holder(environment.desired["ExecutionRoleArn"], secrets.credentials_token, environment.key.arn)

    async def tell(self, environment_id: str, problem: str | None) -> None:
        """An event when it begins to be refused, for another reason, or is granted again: not at every question.

        A control plane that was started anew tells once more. An event that can't be written stops no answer.
        """
        known = self._refused.get(environment_id)
        if known == problem:
            return
        self._remember(environment_id, problem)  # first: many may ask at once
        try:
            environment = await self._store.by_id(environment_id)
            if environment is None:
                self._remember(environment_id, None)
                return
            role = environment.desired["ExecutionRoleArn"]
            message = problem or f"The role {role} gives credentials to tasks again."
            type_ = GRANTED if problem is None else REFUSED
            await self._events.append(environment_id, environment.key, type_, message, data={"role": role})
        except AerodromeError as error:
            log.warning("environment %s: %s (not told as an event: %s)", environment_id, problem or GRANTED, error)
            self._remember(environment_id, known)

    def _remember(self, environment_id: str, problem: str | None) -> None:
        if problem is None:
            self._refused.pop(environment_id, None)
        else:
            self._refused[environment_id] = problem

"""The journal as the reconciler writes it: without values of the user's options and of a startup script's exports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aerodrome.domain.environment import Environment
from aerodrome.domain.masking import mask, mask_all
from aerodrome.domain.products import exports_of
from aerodrome.reconcile.ports import Journal


class DiscreetJournal:
    """Implements `Journal`. What was written down can't be taken back: it is masked on its way in."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def record(
        self, environment: Environment, type_: str, message: str, data: Mapping[str, Any] | None = None
    ) -> None:
        masked = (
            None if data is None else {key: mask_all(value, secrets_of(environment)) for key, value in data.items()}
        )
        await self._journal.record(environment, type_, discreet(message, environment), masked)


def discreet(text: str, environment: Environment) -> str:
    """The text without values of options and exports."""
    return mask(text, secrets_of(environment))


def secrets_of(environment: Environment) -> list[tuple[str, str]]:
    """Those that its components may know: an update's, and those that it may go back to."""
    found = list(exports_of(environment))
    for members in (environment.desired, environment.applied or {}):
        found += (members.get("AirflowConfigurationOptions") or {}).items()
    return found

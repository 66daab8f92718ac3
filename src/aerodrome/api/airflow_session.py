"""Airflow sessions for InvokeRestApi: signed in once, used by all calls of one user with the same roles.

Airflow keeps one set of roles per user, the one of the last sign-in. So a call must not run while the user is signed in
with other roles than the call has: calls with equal roles share a session, others wait for them and sign in anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_LIFETIME = 60.0  # seconds from the sign-in, never extended
_MANY = 1000  # users, above which those at rest are forgotten


@dataclass(slots=True)
class _User:
    turn: asyncio.Condition = field(default_factory=asyncio.Condition)
    roles: tuple[str, ...] = ()
    signed: Mapping[str, str] | None = None
    until: float = 0.0
    active: int = 0


class AirflowSessions:
    """By (environment id, user name)."""

    def __init__(self) -> None:
        self._users: dict[tuple[str, str], _User] = {}

    def forget(self, environment_id: str, username: str) -> None:
        """The user signed in elsewhere, or the token was refused: the next call signs in again."""
        user = self._users.get((environment_id, username))
        if user is not None:
            user.signed = None

    @asynccontextmanager
    async def session(
        self,
        environment_id: str,
        username: str,
        roles: Sequence[str],
        sign_in: Callable[[], Awaitable[Mapping[str, str]]],
    ) -> AsyncIterator[Mapping[str, str]]:
        """Headers that stand for the user with exactly these roles while the block runs: what `sign_in` gave."""
        user, wanted = self._user(environment_id, username), tuple(sorted(roles))
        async with user.turn:
            await user.turn.wait_for(lambda: user.active == 0 or user.roles == wanted)
            if user.signed is None or user.roles != wanted or user.until <= time.monotonic():
                user.signed, user.roles = None, wanted
                user.signed = await sign_in()
                user.until = time.monotonic() + _LIFETIME
            signed = user.signed
            user.active += 1
        try:
            yield signed
        finally:
            user.active -= 1  # before anything that can be cancelled
            async with user.turn:
                user.turn.notify_all()

    def _user(self, environment_id: str, username: str) -> _User:
        if len(self._users) > _MANY:
            now = time.monotonic()
            at_rest = [key for key, user in self._users.items() if user.active == 0 and user.until <= now]
            for key in at_rest:
                del self._users[key]
        return self._users.setdefault((environment_id, username), _User())

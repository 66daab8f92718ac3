"""Credentials of execution roles, remembered until shortly before they run out, or the role trusts us no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from aerodrome.domain.principal import Credentials, RoleSource
from aerodrome.errors import Permanent, Temporary

# So often a role is asked for whether it may still be assumed, however many ask us.
_CONFIRMED = timedelta(seconds=1)


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Known:
    credentials: Credentials
    role_id: str
    confirmed: datetime  # when it was last asked whether the role may be assumed


class RoleCredentials:
    """One AssumeRole per role and session name at a time, its answer shared by everyone who asks."""

    def __init__(self, roles: RoleSource, now: Callable[[], datetime] = utc_now) -> None:
        self._roles = roles
        self._now = now
        self._known: dict[tuple[str, str], _Known] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def get(
        self,
        role_arn: str,
        session_name: str,
        margin: timedelta = timedelta(minutes=5),
        *,
        source_arn: str | None = None,
    ) -> Credentials:
        """Credentials that live for `margin` at least; older ones that still live when the source is away.

        A role whose trust was taken away gives no more, remembered ones neither; nor does one that was made anew
        under its name give those of the one before.

        Raises:
            Permanent: there is no such role, or its trust policy doesn't trust the service.
            Temporary: the source is away, and nothing remembered is alive.
        """
        key = (role_arn, session_name)
        async with self._locks.setdefault(key, asyncio.Lock()):
            try:
                return await self._current(key, margin, source_arn)
            except Permanent:
                self._known.pop(key, None)
                raise
            except Temporary:
                known = self._known.get(key)
                if known and self._left(known) > timedelta(seconds=30):
                    self._known[key] = replace(known, confirmed=self._now())  # nobody else need wait for it now
                    return known.credentials
                raise

    async def _current(self, key: tuple[str, str], margin: timedelta, source_arn: str | None) -> Credentials:
        known = self._known.get(key)
        lives = known is not None and self._left(known) > margin
        if known and lives and timedelta() <= self._now() - known.confirmed < _CONFIRMED:
            return known.credentials
        role = await self._roles.confirm(key[0], source_arn=source_arn)
        if known and lives and known.role_id == role.id:
            self._known[key] = replace(known, confirmed=self._now())
            return known.credentials
        fresh = await self._roles.assume_role(*key, source_arn=source_arn)
        self._known[key] = _Known(fresh, role.id, self._now())
        return fresh

    def _left(self, known: _Known) -> timedelta:
        return known.credentials.expires_at - self._now()

    def forget_session(self, session_name: str) -> None:
        """Drop everything of a session name, for an environment that is gone."""
        for key in [key for key in self._locks if key[1] == session_name]:
            self._known.pop(key, None)
            del self._locks[key]

    def forget(self, role_arn: str, session_name: str) -> None:
        """Drop credentials that were refused, so that the next `get` asks again."""
        self._known.pop((role_arn, session_name), None)

"""Credentials of execution roles, remembered until shortly before they run out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from aerodrome.domain.principal import Credentials, RoleSource
from aerodrome.errors import Temporary


def utc_now() -> datetime:
    return datetime.now(UTC)


class RoleCredentials:
    """One AssumeRole per role and session name at a time, its answer shared by everyone who asks."""

    def __init__(self, roles: RoleSource, now: Callable[[], datetime] = utc_now) -> None:
        self._roles = roles
        self._now = now
        self._known: dict[tuple[str, str], Credentials] = {}
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

        Raises:
            Permanent: there is no such role, or its trust policy doesn't trust the service.
            Temporary: the source is away, and nothing remembered is alive.
        """
        key = (role_arn, session_name)
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = self._known.get(key)
            if known and known.expires_at - self._now() > margin:
                return known
            try:
                fresh = await self._roles.assume_role(role_arn, session_name, source_arn=source_arn)
            except Temporary:
                if known and known.expires_at - self._now() > timedelta(seconds=30):
                    return known
                raise
            self._known[key] = fresh
            return fresh

    def forget_session(self, session_name: str) -> None:
        """Drop everything of a session name, for an environment that is gone."""
        for key in [key for key in self._locks if key[1] == session_name]:
            self._known.pop(key, None)
            del self._locks[key]

    def forget(self, role_arn: str, session_name: str) -> None:
        """Drop credentials that were refused, so that the next `get` asks again."""
        self._known.pop((role_arn, session_name), None)

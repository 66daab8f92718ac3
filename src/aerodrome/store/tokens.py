"""Web and CLI tokens, and the sessions they open. Only SHA-256 hashes are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from aerodrome.store.database import Pool, transaction

TOKEN_LIFETIME = timedelta(seconds=60)  # mwaa-spec 7.2
# What expires later than this was made before the clock was set back: it would live on for as long as that took back.
_LATEST = 2 * TOKEN_LIFETIME


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


@dataclass(frozen=True, slots=True)
class Redeemed:
    """Whom a token stands for."""

    environment_id: str
    username: str
    iam_identity: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A signed-in browser or client."""

    environment_id: str
    username: str
    iam_identity: str
    roles: tuple[str, ...]
    expires_at: datetime


class TokenStore:
    """Times are handed in: the control plane's clock decides, one clock for making and redeeming."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(
        self, token: str, kind: str, environment_id: str, username: str, iam_identity: str, roles: Sequence[str],
        now: datetime,
    ) -> None:  # fmt: skip
        async with transaction(self._pool) as connection:
            await connection.execute(
                "INSERT INTO tokens (hash, kind, environment_id, username, iam_identity, roles, expires_at)"
                " VALUES (%s,%s,%s,%s,%s,%s,%s)",
                (digest(token), kind, environment_id, username, iam_identity, list(roles), now + TOKEN_LIFETIME),
            )

    async def redeem_web(self, token: str, now: datetime) -> Redeemed | None:
        """Use a web token up: of two callers at the same instant one gets it."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute(
                "UPDATE tokens SET redeemed_at = %s WHERE hash = %s AND kind = 'web' AND redeemed_at IS NULL"
                " AND expires_at > %s AND expires_at < %s RETURNING environment_id, username, iam_identity, roles",
                (now, digest(token), now, now + _LATEST),
            )
            row = await rows.fetchone()
        return None if row is None else Redeemed(**{**row, "roles": tuple(row["roles"])})

    async def check_cli(self, token: str, now: datetime) -> Redeemed | None:
        """Whom a CLI token stands for; it may be used again until it expires."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute(
                "SELECT environment_id, username, iam_identity, roles FROM tokens"
                " WHERE hash = %s AND kind = 'cli' AND expires_at > %s AND expires_at < %s",
                (digest(token), now, now + _LATEST),
            )
            row = await rows.fetchone()
        return None if row is None else Redeemed(**{**row, "roles": tuple(row["roles"])})

    async def remember_session(self, cookie_hash: str, session: StoredSession) -> None:
        """Keep it. The same hash again replaces it, except that a revoked one stays revoked."""
        async with transaction(self._pool) as connection:
            await connection.execute(
                "INSERT INTO sessions (hash, environment_id, username, iam_identity, roles, expires_at)"
                " VALUES (%s,%s,%s,%s,%s,%s) ON CONFLICT (hash) DO UPDATE SET expires_at = excluded.expires_at,"
                " username = excluded.username, iam_identity = excluded.iam_identity, roles = excluded.roles",
                (
                    cookie_hash,
                    session.environment_id,
                    session.username,
                    session.iam_identity,
                    list(session.roles),
                    session.expires_at,
                ),
            )

    async def session(self, cookie_hash: str, now: datetime) -> StoredSession | None:
        """The session. None: unknown, expired or revoked."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute(
                "SELECT environment_id, username, iam_identity, roles, expires_at FROM sessions"
                " WHERE hash = %s AND expires_at > %s AND NOT revoked",
                (cookie_hash, now),
            )
            row = await rows.fetchone()
        return None if row is None else StoredSession(**{**row, "roles": tuple(row["roles"])})

    async def revoke(self, cookie_hash: str) -> None:
        async with transaction(self._pool) as connection:
            await connection.execute("UPDATE sessions SET revoked = true WHERE hash = %s", (cookie_hash,))

    async def sweep(self, now: datetime) -> None:
        """Forget what has expired."""
        async with transaction(self._pool) as connection:
            await connection.execute("DELETE FROM tokens WHERE expires_at < %s", (now,))
            await connection.execute("DELETE FROM sessions WHERE expires_at < %s", (now,))

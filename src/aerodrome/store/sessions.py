"""Sessions of browsers and clients at web servers, by the SHA-256 of Airflow's own cookies."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.types.json import Jsonb

from aerodrome.domain.environment import EnvironmentKey
from aerodrome.store.database import READS, SIGNED_IN, Pool, transaction
from aerodrome.store.reading import Away
from aerodrome.store.tokens import Grant


@dataclass(frozen=True, slots=True)
class StoredSession:
    """Someone who is signed in to an environment that isn't being deleted. `seen` is right to a minute."""

    id: str
    grant: Grant
    key: EnvironmentKey
    tags: Mapping[str, str]  # of the environment: policies may ask about them
    created: datetime
    expires: datetime
    seen: datetime


class SessionStore:
    """Times are handed in, as for tokens."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def open(
        self, cookie_hash: str, grant: Grant, now: datetime, expires: datetime, token: bytes | None = None
    ) -> str | None:
        """A new session; returns its id. None: `token`, by its hash, was revoked since it was redeemed.

        Airflow keeps one set of roles per user, that of the last sign-in: the user's sessions with other roles end, or
        they would have these. A cookie of a session that has ended opens none.
        """
        session_id = secrets.token_hex(6)
        async with transaction(self._pool) as connection:
            if token is not None:  # locked: who revokes waits, and finds the session
                held = await connection.execute("SELECT FROM tokens WHERE hash = %s FOR UPDATE", (token,))
                if await held.fetchone() is None:
                    return None
            who = f"{grant.environment_id}/{grant.username}"
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 8))", (who,))
            await connection.execute(
                "UPDATE sessions SET ended = 'signed in with other roles'"
                " WHERE environment_id = %s AND username = %s AND roles <> %s AND ended IS NULL",
                (grant.environment_id, grant.username, list(grant.roles)),
            )
            await connection.execute(
                "INSERT INTO sessions (id, environment_id, username, iam_identity, roles, reference, source_ip,"
                " created_at, expires_at, seen_at) VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s,%s)",
                (
                    session_id,
                    grant.environment_id,
                    grant.username,
                    grant.iam_identity,
                    list(grant.roles),
                    Jsonb(dict(grant.reference)),
                    grant.source_ip,
                    now,
                    expires,
                    now,
                ),
            )
            await connection.execute(_ADD_COOKIE, (cookie_hash, session_id))
        return session_id

    async def follow(self, cookie_hash: str, session_id: str) -> None:
        """Airflow has replaced the session's cookie. One of a session that has ended doesn't come back."""
        async with transaction(self._pool) as connection:
            await connection.execute(_ADD_COOKIE, (cookie_hash, session_id))

    async def find(self, cookie_hash: str, now: datetime) -> StoredSession | None:
        """The session. None: unknown, expired or ended, or its environment is being deleted."""
        try:
            rows = await self._pool.reader.read("session_by_cookie", cookie_hash)
            text = rows[0][0] if rows else None
        except Away:
            async with transaction(self._pool) as connection:
                found = await connection.execute(
                    READS["session_by_cookie"].replace("$1", "%s").encode(), (cookie_hash,)
                )
                row = await found.fetchone()
            text = json.dumps(row["json_build_object"]) if row else None
        session = _session(json.loads(text)) if text else None
        return session if session is not None and session.expires > now else None

    async def all(self, now: datetime) -> list[StoredSession]:
        """Those that last, the oldest first."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute(f"{SIGNED_IN} AND expires_at > %s ORDER BY sessions.created_at", (now,))
            return [_session(row["json_build_object"]) for row in await rows.fetchall()]

    async def seen(self, session_id: str, now: datetime) -> None:
        async with transaction(self._pool) as connection:
            await connection.execute("UPDATE sessions SET seen_at = %s WHERE id = %s", (now, session_id))

    async def end(self, session_ids: list[str], why: str) -> int:
        """End the sessions now; returns how many of them had not ended."""
        async with transaction(self._pool) as connection:
            done = await connection.execute(
                "UPDATE sessions SET ended = %s WHERE id = ANY(%s) AND ended IS NULL", (why, session_ids)
            )
            return done.rowcount

    async def sweep(self, now: datetime) -> None:
        """Forget what has expired."""
        async with transaction(self._pool) as connection:
            await connection.execute("DELETE FROM sessions WHERE expires_at < %s", (now,))


_ADD_COOKIE = """
    INSERT INTO session_cookies (hash, session_id) VALUES (%s, %s) ON CONFLICT (hash) DO UPDATE
    SET session_id = excluded.session_id
    WHERE EXISTS (SELECT FROM sessions WHERE sessions.id = session_cookies.session_id AND ended IS NULL)"""


def _session(found: Mapping[str, Any]) -> StoredSession:
    grant = Grant(
        found["environment_id"],
        found["username"],
        found["iam_identity"],
        tuple(found["roles"]),
        found["reference"],
        found["source_ip"],
    )
    created, expires, seen = (datetime.fromtimestamp(found[name], UTC) for name in ("created", "expires", "seen"))
    return StoredSession(found["id"], grant, EnvironmentKey(*found["key"]), found["tags"], created, expires, seen)

"""Web and CLI tokens. Only SHA-256 hashes are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from aerodrome.store.database import Pool, transaction

TOKEN_LIFETIME = timedelta(seconds=60)  # mwaa-spec 7.2
# What expires later than this was made before the clock was set back: it would live on for as long as that took back.
_LATEST = 2 * TOKEN_LIFETIME
_MEMBERS = "environment_id, username, iam_identity, roles, reference, source_ip"
# An environment that is being deleted lets nobody in: its row, and with it the token's, goes only when all else has.
_NOT_LEAVING = "EXISTS (SELECT FROM environments WHERE id = environment_id AND status <> 'DELETING')"


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


@dataclass(frozen=True, slots=True)
class Grant:
    """Who asked for a token, and what for.

    `reference` says which key, user or role that was (`identity.source`), or which person of the identity provider
    (`domain.sign_in`); `source_ip` where the call came from.
    """

    environment_id: str
    username: str
    iam_identity: str
    roles: tuple[str, ...]
    reference: Mapping[str, Any]
    source_ip: str


class TokenStore:
    """Times are handed in: the control plane's clock decides, one clock for making and redeeming."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, token: str, kind: str, grant: Grant, now: datetime) -> None:
        """`kind` is `web` or `cli`."""
        async with transaction(self._pool) as connection:
            await connection.execute(
                f"INSERT INTO tokens (hash, kind, {_MEMBERS}, expires_at)"  # noqa: S608 - constants
                " VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s)",
                (
                    digest(token),
                    kind,
                    grant.environment_id,
                    grant.username,
                    grant.iam_identity,
                    list(grant.roles),
                    Jsonb(dict(grant.reference)),
                    grant.source_ip,
                    now + TOKEN_LIFETIME,
                ),
            )

    async def redeem_web(self, token: str, now: datetime) -> Grant | None:
        """Use a web token up: of two callers at the same instant one gets it. None: unknown, used or expired."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute(
                "UPDATE tokens SET redeemed_at = %s WHERE hash = %s AND kind = 'web'"  # noqa: S608 - constants
                " AND redeemed_at IS NULL"
                f" AND expires_at > %s AND expires_at < %s AND {_NOT_LEAVING} RETURNING {_MEMBERS}",
                (now, digest(token), now, now + _LATEST),
            )
            row = await rows.fetchone()
        return None if row is None else Grant(**{**row, "roles": tuple(row["roles"])})

    async def check_cli(self, token: str, now: datetime) -> Grant | None:
        """Whom a CLI token stands for; it may be used again until it expires."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute(
                f"SELECT {_MEMBERS} FROM tokens"  # noqa: S608 - constants
                f" WHERE hash = %s AND kind = 'cli' AND expires_at > %s AND expires_at < %s AND {_NOT_LEAVING}",
                (digest(token), now, now + _LATEST),
            )
            row = await rows.fetchone()
        return None if row is None else Grant(**{**row, "roles": tuple(row["roles"])})

    async def forget(self, environment_ids: Collection[str], user: str | None = None) -> None:
        """Tokens of these environments open nothing any more: all, or those of one user (`api.sessions.is_of`)."""
        async with transaction(self._pool) as connection:
            await connection.execute(
                "DELETE FROM tokens WHERE environment_id = ANY(%(ids)s) AND (%(user)s::text IS NULL"
                " OR %(user)s IN (username, iam_identity) OR iam_identity = 'user/' || %(user)s"
                " OR starts_with(iam_identity, %(user)s || '/'))",
                {"ids": list(environment_ids), "user": user},
            )

    async def sweep(self, now: datetime) -> None:
        """Forget what expired a while ago: a sign-in that is under way asks for its token once more at its end."""
        async with transaction(self._pool) as connection:
            await connection.execute("DELETE FROM tokens WHERE expires_at < %s", (now - 5 * TOKEN_LIFETIME,))

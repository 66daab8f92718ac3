"""Access keys of users, and sessions of roles. Secrets lie sealed, bound to their key's id; tokens are hashed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Json

from aerodrome.domain import iam
from aerodrome.domain.iam import Kind, Who
from aerodrome.domain.principal import Credentials
from aerodrome.store.data_keys import wrapping
from aerodrome.store.database import Pool, transaction
from aerodrome.store.identities import Connection, changing, id_of
from aerodrome.store.new_keys import new_id, new_secret
from aerodrome.store.tokens import digest
from aerodrome.vault import Vault

_REMEMBERED = timedelta(days=1)  # that a session's end is told as that, and not as a key that nobody knows


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A new access key: the only time that its secret is shown."""

    id: str
    secret: str = field(repr=False)
    user: str


@dataclass(frozen=True, slots=True)
class ListedKey:
    id: str
    user: str
    active: bool
    created_at: datetime


class AccessKeyStore:
    """Every method is one transaction; ApiErrors have IAM's codes."""

    def __init__(self, pool: Pool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault

    async def create(self, user: str) -> KeyPair:
        """Make a key for the user.

        Raises:
            ApiError: `NoSuchEntity`; `LimitExceeded` when there are two already.
        """
        key_id, secret = new_id(iam.LONG_TERM), new_secret()
        async with changing(self._pool) as connection:
            identity = await id_of(connection, Who(Kind.USER, user))
            rows = await connection.execute("SELECT count(*) AS n FROM access_keys WHERE identity = %s", (identity,))
            if (await rows.fetchone() or {})["n"] >= iam.KEYS_PER_USER:
                raise iam.limit_exceeded(f"Cannot exceed quota for AccessKeysPerUser: {iam.KEYS_PER_USER}")
            await self._insert(connection, key_id, identity, secret)
        return KeyPair(key_id, secret, user)

    async def listed(self, user: str) -> list[ListedKey]:
        """The user's keys, without their secrets, the oldest first.

        Raises:
            ApiError: `NoSuchEntity`.
        """
        async with transaction(self._pool) as connection:
            rows = await connection.execute(
                'SELECT k.id, i.name AS "user", k.active, k.created_at FROM access_keys k'
                " JOIN identities i ON i.id = k.identity WHERE k.identity = %s ORDER BY k.created_at, k.id",
                (await id_of(connection, Who(Kind.USER, user)),),
            )
            return [ListedKey(**row) for row in await rows.fetchall()]

    async def set_active(self, key_id: str, *, active: bool) -> None:
        """Raises ApiError: `NoSuchEntity`."""
        await self._change(key_id, "UPDATE access_keys SET active = %s WHERE id = %s", (active, key_id))

    async def delete(self, key_id: str) -> None:
        """Raises ApiError: `NoSuchEntity`."""
        await self._change(key_id, "DELETE FROM access_keys WHERE id = %s", (key_id,))

    async def ensure_administrator(self, key: Callable[[], tuple[str, str]]) -> None:
        """See to it that the administrator is there, with every right and the key that `key` reads.

        It is read while nobody else changes keys, so that one that was just rotated away doesn't come back.
        """
        async with changing(self._pool) as connection:
            key_id, secret = key()
            await connection.execute(
                "INSERT INTO identities (id, kind, name) VALUES (%s,'user',%s) ON CONFLICT DO NOTHING",
                (new_id(iam.PREFIXES[Kind.USER]), iam.ADMINISTRATOR),
            )
            identity = await id_of(connection, Who(Kind.USER, iam.ADMINISTRATOR))
            await connection.execute(
                "INSERT INTO attachments (identity, policy) VALUES (%s,%s) ON CONFLICT DO NOTHING",
                (identity, iam.ADMINISTRATOR_ACCESS),
            )
            await self._insert(connection, key_id, identity, secret)

    async def forget(self, key_id: str) -> None:
        """Delete a key that may be gone already."""
        async with changing(self._pool) as connection:
            await connection.execute("DELETE FROM access_keys WHERE id = %s", (key_id,))

    async def open_session(
        self, role_id: str, name: str, policies: Sequence[Mapping[str, Any]] | None, expires_at: datetime
    ) -> Credentials:
        """Temporary credentials of a role. `policies` limit the session; None: nothing does."""
        key_id, secret, token = new_id(iam.TEMPORARY), new_secret(), secrets.token_urlsafe(64)
        async with transaction(self._pool) as connection:
            await wrapping(connection)
            await connection.execute(
                "INSERT INTO role_sessions (key_id, identity, name, secret, token, policies, expires_at)"
                " VALUES (%s,%s,%s,%s,%s,%s,%s)",
                (
                    key_id,
                    role_id,
                    name,
                    self._vault.seal(secret.encode(), context_of(key_id)),
                    digest(token),
                    None if policies is None else Json(list(policies)),
                    expires_at,
                ),
            )
        return Credentials(key_id, secret, token, expires_at)

    async def sweep(self, now: datetime) -> None:
        """Forget sessions that have long expired."""
        async with transaction(self._pool) as connection:
            await connection.execute("DELETE FROM role_sessions WHERE expires_at < %s", (now - _REMEMBERED,))

    async def _insert(self, connection: Connection, key_id: str, identity: str, secret: str) -> None:
        """A key that is there stays as it is, but belongs to this user, with this secret, and is active."""
        await wrapping(connection)
        await connection.execute(
            "INSERT INTO access_keys (id, identity, secret) VALUES (%s,%s,%s) ON CONFLICT (id) DO UPDATE"
            " SET identity = excluded.identity, secret = excluded.secret, active = true",
            (key_id, identity, self._vault.seal(secret.encode(), context_of(key_id))),
        )

    async def _change(self, key_id: str, statement: str, values: tuple[object, ...]) -> None:
        async with changing(self._pool) as connection:
            done = await connection.execute(statement.encode(), values)
            if done.rowcount == 0:
                raise iam.no_such(f"the access key with id {key_id}")


def context_of(key_id: str) -> str:
    """What a key's secret is sealed for."""
    return f"access key {key_id}"

"""Users, groups and roles of our own table, and who is in which group. Names are told apart regardless of case."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg.types.json import Json, Jsonb

from aerodrome.domain import iam
from aerodrome.domain.iam import Kind, Who
from aerodrome.domain.policy_documents import trust_policy
from aerodrome.errors import Temporary
from aerodrome.store.database import Pool, transaction
from aerodrome.store.new_keys import new_id

Connection = AsyncConnection[DictRow]


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, group or role, and what it has."""

    id: str
    kind: Kind
    name: str
    created_at: datetime
    tags: Mapping[str, str]
    boundary: str | None
    trust: Mapping[str, Any] | None  # of a role
    max_seconds: int
    groups: tuple[str, ...]  # that a user is in
    members: tuple[str, ...]  # of a group
    attached: tuple[str, ...]  # names of managed policies
    inline: Mapping[str, Any]  # name -> document
    keys: tuple[str, ...]  # ids of access keys


# One writer waits for the other; one that hangs in the middle is put an end to, by the server.
_HANGING, _WAITING = 10_000, 20_000  # milliseconds


@asynccontextmanager
async def changing(pool: Pool) -> AsyncIterator[Connection]:
    """One transaction that changes who may do what. One at a time, so that limits hold among writers.

    Raises:
        Temporary: the database is away, or other writers took too long.
    """
    try:
        async with transaction(pool) as connection:
            await connection.execute(
                "SELECT set_config('idle_in_transaction_session_timeout', %s, true),"
                " set_config('lock_timeout', %s, true)",
                (str(_HANGING), str(_WAITING)),
            )
            await connection.execute("UPDATE identity_revision SET revision = revision + 1")
            yield connection
    except psycopg.errors.IdleInTransactionSessionTimeout as error:
        raise Temporary("This took too long in the middle of a change, which was undone; try again.") from error


async def id_of(connection: Connection, who: Who) -> str:
    """Raises ApiError: `NoSuchEntity`."""
    rows = await connection.execute(
        "SELECT id FROM identities WHERE kind = %s AND lower(name) = lower(%s)", (who.kind, who.name)
    )
    row = await rows.fetchone()
    if row is None:
        raise iam.no_such(f"the {who.kind} with name {who.name}")
    return str(row["id"])


class IdentityStore:
    """Every method is one transaction; ApiErrors have IAM's codes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(
        self, who: Who, *, tags: Mapping[str, str] | None = None, trust: str | None = None, max_seconds: int = 3600
    ) -> Identity:
        """Make it. `trust` is a role's trust policy, as text.

        Raises:
            ApiError: `EntityAlreadyExists`, `ValidationError`, `MalformedPolicyDocument`, `LimitExceeded`.
        """
        iam.check_name(who.kind, who.name)
        iam.check_tags(tags or {})
        if who.kind is Kind.ROLE:
            iam.check_duration(max_seconds, iam.LONGEST_SESSION)
        document = None if trust is None else Json(trust_policy(trust, iam.TRUST_LIMIT))
        try:
            async with changing(self._pool) as connection:
                await connection.execute(
                    "INSERT INTO identities (id, kind, name, tags, trust, max_seconds) VALUES (%s,%s,%s,%s,%s,%s)",
                    (new_id(iam.PREFIXES[who.kind]), who.kind, who.name, Jsonb(tags or {}), document, max_seconds),
                )
        except psycopg.errors.UniqueViolation as error:
            raise iam.already_there(f"the {who.kind} with name {who.name}") from error
        return await self.get(who)

    async def delete(self, who: Who) -> None:
        """Remove it with all that is its own: keys, sessions, inline policies, memberships.

        Raises:
            ApiError: `NoSuchEntity`; `DeleteConflict` for the administrator.
        """
        if who.is_administrator:
            raise iam.conflict(f"The user {who.name} is the installation's administrator and can't be deleted.")
        async with changing(self._pool) as connection:
            await connection.execute("DELETE FROM identities WHERE id = %s", (await id_of(connection, who),))

    async def get(self, who: Who) -> Identity:
        """Raises ApiError: `NoSuchEntity`."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute(f"{_SELECT} WHERE i.id = %s", (await id_of(connection, who),))
            return _identity(await rows.fetchone() or {})

    async def listed(self, kind: Kind) -> list[Identity]:
        """All of a kind, by name."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute(f'{_SELECT} WHERE i.kind = %s ORDER BY i.name COLLATE "C"', (kind,))
            return [_identity(row) for row in await rows.fetchall()]

    async def set_trust(self, role: str, trust: str) -> None:
        """Raises ApiError: `NoSuchEntity`, `MalformedPolicyDocument`, `LimitExceeded`."""
        document = Json(trust_policy(trust, iam.TRUST_LIMIT))
        async with changing(self._pool) as connection:
            found = await id_of(connection, Who(Kind.ROLE, role))
            await connection.execute("UPDATE identities SET trust = %s WHERE id = %s", (document, found))

    async def tag(self, who: Who, tags: Mapping[str, str]) -> None:
        """Add tags, or give them other values.

        Raises:
            ApiError: `NoSuchEntity`, `ValidationError`, `LimitExceeded`.
        """
        async with changing(self._pool) as connection:
            found = await id_of(connection, who)
            rows = await connection.execute("SELECT tags FROM identities WHERE id = %s", (found,))
            whole = {**(await rows.fetchone() or {})["tags"], **tags}
            iam.check_tags(whole)
            await connection.execute("UPDATE identities SET tags = %s WHERE id = %s", (Jsonb(whole), found))

    async def untag(self, who: Who, keys: Iterable[str]) -> None:
        """Raises ApiError: `NoSuchEntity`. A key that isn't there is none to remove."""
        async with changing(self._pool) as connection:
            found = await id_of(connection, who)
            await connection.execute(
                "UPDATE identities SET tags = tags - %s::text[] WHERE id = %s", (sorted(keys), found)
            )

    async def add_to_group(self, user: str, group: str) -> None:
        """Raises ApiError: `NoSuchEntity`, `LimitExceeded`. A member who is added again stays one."""
        async with changing(self._pool) as connection:
            member = await id_of(connection, Who(Kind.USER, user))
            group_id = await id_of(connection, Who(Kind.GROUP, group))
            await connection.execute(
                "INSERT INTO memberships (member, group_id) VALUES (%s,%s) ON CONFLICT DO NOTHING", (member, group_id)
            )
            rows = await connection.execute("SELECT count(*) AS n FROM memberships WHERE member = %s", (member,))
            if (await rows.fetchone() or {})["n"] > iam.GROUPS_PER_USER:
                raise iam.limit_exceeded(f"Cannot exceed quota for GroupsPerUser: {iam.GROUPS_PER_USER}")

    async def remove_from_group(self, user: str, group: str) -> None:
        """Raises ApiError: `NoSuchEntity`, also when the user isn't in the group."""
        async with changing(self._pool) as connection:
            member = await id_of(connection, Who(Kind.USER, user))
            group_id = await id_of(connection, Who(Kind.GROUP, group))
            gone = await connection.execute(
                "DELETE FROM memberships WHERE member = %s AND group_id = %s", (member, group_id)
            )
            if gone.rowcount == 0:
                raise iam.no_such(f"the user {user} in the group {group}")


_SELECT = """
SELECT i.id, i.kind, i.name, i.created_at, i.tags, i.boundary, i.trust, i.max_seconds,
       ARRAY(SELECT g.name FROM memberships m JOIN identities g ON g.id = m.group_id
             WHERE m.member = i.id ORDER BY g.name) AS groups,
       ARRAY(SELECT u.name FROM memberships m JOIN identities u ON u.id = m.member
             WHERE m.group_id = i.id ORDER BY u.name) AS members,
       ARRAY(SELECT policy FROM attachments WHERE identity = i.id ORDER BY policy) AS attached,
       (SELECT coalesce(json_object_agg(name, document ORDER BY name), '{}')
        FROM inline_policies WHERE identity = i.id) AS inline,
       ARRAY(SELECT id FROM access_keys WHERE identity = i.id ORDER BY created_at, id) AS keys
FROM identities i
"""


def _identity(row: Mapping[str, Any]) -> Identity:
    listed = {name: tuple(row[name]) for name in ("groups", "members", "attached", "keys")}
    return Identity(**{**row, **listed, "kind": Kind(row["kind"])})

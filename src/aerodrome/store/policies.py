"""Policies of our own table: managed ones, attached to many, and inline ones, of one user, group or role each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Json

from aerodrome.domain import iam
from aerodrome.domain.iam import Kind, Who
from aerodrome.domain.policy_documents import identity_policy, size
from aerodrome.store.database import Pool, transaction
from aerodrome.store.identities import Connection, changing, id_of


@dataclass(frozen=True, slots=True)
class ManagedPolicy:
    """`used` counts attachments and boundaries."""

    name: str
    document: Mapping[str, Any]
    is_aws: bool
    created_at: datetime
    changed_at: datetime
    used: int


class PolicyStore:
    """Every method is one transaction; ApiErrors have IAM's codes. Documents are checked before they are written."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(self, name: str, text: str) -> ManagedPolicy:
        """Raises ApiError: `EntityAlreadyExists`, `ValidationError`, `MalformedPolicyDocument`, `LimitExceeded`."""
        iam.check_name("policy", name)
        document = Json(identity_policy(text, iam.MANAGED_LIMIT))
        try:
            async with changing(self._pool) as connection:
                await connection.execute("INSERT INTO policies (name, document) VALUES (%s,%s)", (name, document))
        except psycopg.errors.UniqueViolation as error:
            raise iam.already_there(f"the policy {name}") from error
        return await self.get(name)

    async def replace(self, name: str, text: str) -> None:
        """Give it another document, for all who have it.

        Raises:
            ApiError: `NoSuchEntity`, `MalformedPolicyDocument`, `LimitExceeded`.
        """
        document = Json(identity_policy(text, iam.MANAGED_LIMIT))
        async with changing(self._pool) as connection:
            found = await _own(connection, name)
            await connection.execute(
                "UPDATE policies SET document = %s, changed_at = now() WHERE name = %s", (document, found)
            )

    async def delete(self, name: str) -> None:
        """Raises ApiError: `NoSuchEntity`; `DeleteConflict` while somebody has it."""
        try:
            async with changing(self._pool) as connection:
                await connection.execute("DELETE FROM policies WHERE name = %s", (await _own(connection, name),))
        except psycopg.errors.ForeignKeyViolation as error:
            raise iam.conflict(
                f"Cannot delete the policy {name}: it is attached, or somebody's permissions boundary. "
                f"`aerodrome iam get-policy {name}` names them; detach it first."
            ) from error

    async def get(self, name: str) -> ManagedPolicy:
        """Raises ApiError: `NoSuchEntity`."""
        async with transaction(self._pool) as connection:
            found = await _name_of(connection, name)
            rows = await connection.execute(f"{_SELECT} WHERE p.name = %s", (found,))
            return ManagedPolicy(**(await rows.fetchone() or {}))

    async def users(self, name: str) -> list[str]:
        """Who has it: `user alice`, `role etl (boundary)`."""
        async with transaction(self._pool) as connection:
            found = await _name_of(connection, name)
            rows = await connection.execute(
                "SELECT kind || ' ' || name || mark AS who FROM ("
                " SELECT i.kind, i.name, '' AS mark FROM attachments a JOIN identities i ON i.id = a.identity"
                " WHERE a.policy = %(policy)s"
                " UNION ALL SELECT kind, name, ' (boundary)' FROM identities WHERE boundary = %(policy)s"
                ") AS found ORDER BY who",
                {"policy": found},
            )
            return [row["who"] for row in await rows.fetchall()]

    async def listed(self) -> list[ManagedPolicy]:
        """All, by name."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute(f'{_SELECT} ORDER BY p.name COLLATE "C"')
            return [ManagedPolicy(**row) for row in await rows.fetchall()]

    async def attach(self, who: Who, policy: str) -> None:
        """Raises ApiError: `NoSuchEntity`, `LimitExceeded`. What is attached already stays so."""
        async with changing(self._pool) as connection:
            identity, found = await id_of(connection, who), await _name_of(connection, policy)
            await connection.execute(
                "INSERT INTO attachments (identity, policy) VALUES (%s,%s) ON CONFLICT DO NOTHING", (identity, found)
            )
            rows = await connection.execute("SELECT count(*) AS n FROM attachments WHERE identity = %s", (identity,))
            if (await rows.fetchone() or {})["n"] > iam.ATTACHED_POLICIES:
                raise iam.limit_exceeded(
                    f"Cannot exceed quota for PoliciesPer{who.kind.title()}: {iam.ATTACHED_POLICIES}"
                )

    async def detach(self, who: Who, policy: str) -> None:
        """Raises ApiError: `NoSuchEntity`, also when it isn't attached."""
        async with changing(self._pool) as connection:
            identity, found = await id_of(connection, who), await _name_of(connection, policy)
            gone = await connection.execute(
                "DELETE FROM attachments WHERE identity = %s AND policy = %s", (identity, found)
            )
            if gone.rowcount == 0:
                raise iam.no_such(f"the policy {policy}, attached to the {who},")

    async def put_inline(self, who: Who, name: str, text: str) -> None:
        """Write an inline policy, over the one of that name.

        Raises:
            ApiError: `NoSuchEntity`, `ValidationError`, `MalformedPolicyDocument`, `LimitExceeded`.
        """
        iam.check_name("policy", name)
        document = identity_policy(text)
        async with changing(self._pool) as connection:
            identity = await id_of(connection, who)
            await connection.execute(
                "INSERT INTO inline_policies (identity, name, document) VALUES (%s,%s,%s)"
                " ON CONFLICT (identity, name) DO UPDATE SET document = excluded.document",
                (identity, name, Json(document)),
            )
            rows = await connection.execute("SELECT document FROM inline_policies WHERE identity = %s", (identity,))
            limit = iam.INLINE_LIMIT[who.kind]
            if sum(size(row["document"]) for row in await rows.fetchall()) > limit:
                raise iam.limit_exceeded(f"Maximum policy size of {limit} bytes exceeded for {who}")

    async def delete_inline(self, who: Who, name: str) -> None:
        """Raises ApiError: `NoSuchEntity`."""
        async with changing(self._pool) as connection:
            gone = await connection.execute(
                "DELETE FROM inline_policies WHERE identity = %s AND name = %s", (await id_of(connection, who), name)
            )
            if gone.rowcount == 0:
                raise iam.no_such(f"the policy {name} of the {who}")

    async def set_boundary(self, who: Who, policy: str | None) -> None:
        """The permissions boundary of a user or role; None takes it away.

        Raises:
            ApiError: `NoSuchEntity`; `ValidationError` for a group, and for the administrator.
        """
        if who.kind is Kind.GROUP:
            raise iam.invalid("A group has no permissions boundary; users and roles have.")
        if policy is not None and who.is_administrator:
            raise iam.invalid(f"The user {who.name} is the installation's administrator and can't be limited.")
        async with changing(self._pool) as connection:
            identity = await id_of(connection, who)
            found = None if policy is None else await _name_of(connection, policy)
            await connection.execute("UPDATE identities SET boundary = %s WHERE id = %s", (found, identity))


_SELECT = """
SELECT p.name, p.document, p.is_aws, p.created_at, p.changed_at,
       (SELECT count(*) FROM attachments WHERE policy = p.name)
       + (SELECT count(*) FROM identities WHERE boundary = p.name) AS used
FROM policies p
"""


async def _name_of(connection: Connection, policy: str) -> str:
    """The policy's name as it was given; by name or ARN.

    Raises:
        ApiError: `NoSuchEntity`.
    """
    name = policy.rpartition(":policy/")[2]
    rows = await connection.execute("SELECT name FROM policies WHERE lower(name) = lower(%s)", (name,))
    row = await rows.fetchone()
    if row is None:
        raise iam.no_such(f"the policy {policy}")
    return str(row["name"])


async def _own(connection: Connection, policy: str) -> str:
    """The same, of a policy that may be changed."""
    name = await _name_of(connection, policy)
    if name == iam.ADMINISTRATOR_ACCESS:
        raise iam.invalid(f"{name} is an AWS managed policy and can't be changed.")
    return name

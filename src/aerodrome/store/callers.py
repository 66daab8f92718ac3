"""Principals of our own table, with all policies that reach them: what a signature check and a web session ask."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aerodrome.domain import iam
from aerodrome.domain.iam import Kind, Who
from aerodrome.domain.principal import AccessKey, Principal, PrincipalReference
from aerodrome.store.access_keys import context_of
from aerodrome.store.database import Pool, transaction
from aerodrome.store.identities import Connection
from aerodrome.store.reading import Away
from aerodrome.store.tokens import digest
from aerodrome.vault import Vault

_KEPT = 1000  # principals that are remembered


@dataclass(frozen=True, slots=True)
class Role:
    """Who may assume it, and for how many seconds at most."""

    id: str
    name: str
    trust: Mapping[str, Any]
    max_seconds: int


class TablePrincipals:
    """A `PrincipalSource`. What it remembers is good as long as nothing was changed since, which it asks each time.

    So every change counts from the next request on, whichever process made it.
    """

    def __init__(self, pool: Pool, vault: Vault, account: str) -> None:
        self._pool = pool
        self._vault = vault
        self._account = account
        self._revision = ""
        self._keys: dict[tuple[str, bytes], AccessKey] = {}
        self._standing: dict[PrincipalReference, Principal] = {}

    async def resolve(self, key_id: str, session_token: str | None) -> AccessKey | None:
        """The key with its principal, or None when there is no such key or the token isn't its token.

        Raises:
            Temporary: the database is away.
        """
        revision = await self._at_present()
        token = digest(session_token) if session_token is not None else b""
        kept = self._keys.get((key_id, token))
        if kept is not None:
            return kept
        async with transaction(self._pool) as connection:
            found = await self._read(connection, key_id, session_token)
        if found is not None and revision == self._revision and len(self._keys) < _KEPT:
            self._keys[key_id, token] = found
        return found

    async def principal_of(self, reference: PrincipalReference) -> Principal | None:
        """The principal as it is now, or None when it stands no more.

        Raises:
            Temporary: the database is away.
        """
        revision = await self._at_present()
        kept = self._standing.get(reference)
        if kept is not None:
            return kept
        async with transaction(self._pool) as connection:
            if reference.expires_at is None and not await _has_key(connection, reference):
                return None
            row = await _row(connection, reference.issuer_id)
        if row is None:
            return None
        principal = _principal(self._account, row, reference)
        if revision == self._revision and len(self._standing) < _KEPT:
            self._standing[reference] = principal
        return principal

    async def knows(self, key_id: str) -> bool:
        """Whether the key is one of the table's, whatever it is worth."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute(
                "SELECT FROM access_keys WHERE id = %(key)s UNION ALL SELECT FROM role_sessions WHERE key_id = %(key)s",
                {"key": key_id},
            )
            return await rows.fetchone() is not None

    async def role(self, name: str) -> Role | None:
        """What assuming the role takes; None when there is none."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute(
                "SELECT id, name, trust, max_seconds FROM identities WHERE kind = 'role' AND name = %s", (name,)
            )
            row = await rows.fetchone()
        return None if row is None else Role(**row)

    async def managed(self, name: str) -> Mapping[str, Any] | None:
        """The document of a managed policy."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute("SELECT document FROM policies WHERE name = %s", (name,))
            row = await rows.fetchone()
        return None if row is None else row["document"]

    async def _at_present(self) -> str:
        """The revision of the table, all older memories gone."""
        try:
            (revision,) = (await self._pool.reader.read("revision_of_identities"))[0]
        except Away:
            async with transaction(self._pool) as connection:
                row = await (await connection.execute("SELECT revision::text FROM identity_revision")).fetchone()
            revision = (row or {})["revision"]
        if revision != self._revision:
            self._revision = revision or ""
            self._keys, self._standing = {}, {}
        return self._revision

    async def _read(self, connection: Connection, key_id: str, token: str | None) -> AccessKey | None:
        if key_id.startswith(iam.TEMPORARY):
            return await self._read_session(connection, key_id, token or "")
        rows = await connection.execute("SELECT identity, secret, active FROM access_keys WHERE id = %s", (key_id,))
        key = await rows.fetchone()
        row = await _row(connection, key["identity"]) if key is not None and not token else None
        if key is None or row is None:
            return None
        arn = iam.arn(self._account, Who(Kind.USER, row["name"]))
        reference = PrincipalReference(key_id, arn, row["id"], arn, row["id"])
        return AccessKey(
            key_id, self._opened(key_id, key["secret"]), active=key["active"], principal=self._made(row, reference)
        )

    async def _read_session(self, connection: Connection, key_id: str, token: str) -> AccessKey | None:
        rows = await connection.execute("SELECT * FROM role_sessions WHERE key_id = %s", (key_id,))
        session = await rows.fetchone()
        if session is None or not hmac.compare_digest(session["token"], digest(token)):
            return None
        row = await _row(connection, session["identity"])
        if row is None:
            return None
        expires_at: datetime = session["expires_at"]
        reference = PrincipalReference(
            key_id,
            iam.session_arn(self._account, row["name"], session["name"]),
            f"{row['id']}:{session['name']}",
            iam.arn(self._account, Who(Kind.ROLE, row["name"])),
            row["id"],
            expires_at,
            None if session["policies"] is None else tuple(session["policies"]),
        )
        secret = self._opened(key_id, session["secret"])
        return AccessKey(key_id, secret, token, expires_at, principal=self._made(row, reference))

    def _opened(self, key_id: str, sealed: bytes) -> str:
        return self._vault.open(sealed, context_of(key_id)).decode()

    def _made(self, row: Mapping[str, Any], reference: PrincipalReference) -> Principal:
        return _principal(self._account, row, reference)


async def _has_key(connection: Connection, reference: PrincipalReference) -> bool:
    rows = await connection.execute(
        "SELECT 1 FROM access_keys WHERE id = %s AND identity = %s AND active",
        (reference.access_key_id, reference.issuer_id),
    )
    return await rows.fetchone() is not None


async def _row(connection: Connection, identity: str) -> Mapping[str, Any] | None:
    """A user or role with its boundary and with all policies that reach it, those of its groups included."""
    rows = await connection.execute(_SELECT, (identity,))
    return await rows.fetchone()


_SELECT = """
SELECT i.id, i.name, i.tags, b.document AS boundary, ARRAY(
    SELECT document FROM inline_policies WHERE identity = i.id
    UNION ALL SELECT p.document FROM attachments a JOIN policies p ON p.name = a.policy WHERE a.identity = i.id
    UNION ALL SELECT n.document FROM memberships m JOIN inline_policies n ON n.identity = m.group_id
              WHERE m.member = i.id
    UNION ALL SELECT p.document FROM memberships m JOIN attachments a ON a.identity = m.group_id
              JOIN policies p ON p.name = a.policy WHERE m.member = i.id
) AS policies
FROM identities i LEFT JOIN policies b ON b.name = i.boundary
WHERE i.id = %s
"""


def _principal(account: str, row: Mapping[str, Any], reference: PrincipalReference) -> Principal:
    return Principal(
        arn=reference.arn,
        account=account,
        partition="aws",
        user_id=reference.user_id,
        policies=tuple(row["policies"]),
        boundary=row["boundary"],
        session_policies=reference.session_policies,
        tags={**row["tags"], **reference.session_tags},
        reference=reference,
    )

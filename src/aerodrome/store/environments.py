"""The environments' rows: insert, read, compare-and-set. Sensitive members lie sealed."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from aerodrome.domain.environment import Environment, EnvironmentKey, Fallback, LastUpdate, Status
from aerodrome.domain.secrets import EnvironmentSecrets
from aerodrome.errors import Permanent
from aerodrome.store.database import Pool, transaction
from aerodrome.store.events import NewEvent
from aerodrome.store.reading import Away
from aerodrome.store.vault import Vault

log = logging.getLogger(__name__)

# Members of the specification that the model marks sensitive (mwaa-spec 1.3).
_SENSITIVE = ("AirflowConfigurationOptions",)
_SEALED = "sealed:"
_KNOWN = 1000  # environments that `get` keeps opened
_COLUMNS = (
    "id, partition, account, region, name, status, desired, applied, last_update, host, created_at, generation, tags,"
    " runtime, revision, fallback, made"
)


class DuplicateName(Exception):
    """There is an environment of this name already."""


class AddressTaken(Exception):
    """Another environment got this loopback address first: choose the next."""


class EnvironmentStore:
    """Reads and writes of `environments`. A write names the generation it read; None back means somebody was first."""

    def __init__(self, pool: Pool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault
        self._known: dict[EnvironmentKey, Environment] = {}  # as they were when `get` last read them

    async def insert(
        self, environment: Environment, address: str, secrets: EnvironmentSecrets, event: NewEvent | None = None
    ) -> None:
        """Add the row, and the event that tells of it.

        Raises:
            DuplicateName: the key is taken. AddressTaken: the loopback address is taken.
        """
        sealed = self._vault.seal(json.dumps(secrets.to_json()).encode(), environment.id)
        key = environment.key
        try:
            async with transaction(self._pool) as connection:
                await connection.execute(
                    "INSERT INTO environments (id, partition, account, region, name, status, desired, last_update,"
                    " host, address, secrets, created_at, generation, tags, runtime)"
                    " VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s)",
                    (
                        environment.id,
                        key.partition,
                        key.account,
                        key.region,
                        key.name,
                        environment.status,
                        self._pack(environment.id, environment.desired),
                        _pack_update(environment.last_update),
                        environment.host,
                        address,
                        sealed,
                        environment.created_at,
                        environment.generation,
                        Jsonb(dict(environment.tags)),
                        environment.runtime,
                    ),
                )
                if event is not None:
                    await event.write(connection, environment.id, key)
        except psycopg.errors.UniqueViolation as error:
            if error.diag.constraint_name == "environments_address_key":
                raise AddressTaken(address) from error
            raise DuplicateName(key.name) from error

    async def get(self, key: EnvironmentKey) -> Environment | None:
        """The environment as it is now. The row is only fetched when its generation or tags aren't those we know."""
        values = (key.partition, key.account, key.region, key.name)
        try:
            versions = await self._pool.reader.read("version_of_environment", *values)
        except Away:
            versions = None
        known = self._known.get(key)
        if known is not None and versions and _is_version_of(known, *versions[0]):
            return known
        found = None if versions == [] else await self._get(key)
        if found is None:
            self._known.pop(key, None)
        else:
            self._remember(found)
        return found

    def _remember(self, environment: Environment) -> None:
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[environment.key] = environment

    async def _get(self, key: EnvironmentKey) -> Environment | None:
        return await self._one("partition = %s AND account = %s AND region = %s AND name = %s",
                               (key.partition, key.account, key.region, key.name))  # fmt: skip

    async def by_id(self, environment_id: str) -> Environment | None:
        return await self._one("id = %s", (environment_id,))

    async def list_names(self, partition: str, account: str, region: str, after: str, limit: int) -> list[str]:
        """Names in order, the first one after `after`."""
        with suppress(Away):
            found = await self._pool.reader.read("names_of_environments", partition, account, region, after, str(limit))
            names: list[str] = json.loads(found[0][0] or "[]")
            return names
        async with transaction(self._pool) as connection:
            rows = await connection.execute(
                "SELECT name FROM environments WHERE partition = %s AND account = %s AND region = %s"
                ' AND name COLLATE "C" > %s ORDER BY name COLLATE "C" LIMIT %s',
                (partition, account, region, after, limit),
            )
            return [row["name"] for row in await rows.fetchall()]

    async def all(self) -> list[Environment]:
        """Every environment that can be read; one that can't is logged."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute(f"SELECT {_COLUMNS} FROM environments ORDER BY created_at")  # noqa: S608
            found = await rows.fetchall()
        environments = []
        for row in found:
            try:
                environments.append(self._unpack(row))
            except Permanent as error:  # one damaged row must not stop the others
                log.error("environment %s (%s): %s", row["name"], row["id"], error)
        return environments

    async def ids(self) -> list[str]:
        async with transaction(self._pool) as connection:
            rows = await connection.execute("SELECT id FROM environments ORDER BY created_at")
            return [row["id"] for row in await rows.fetchall()]

    async def addresses(self) -> dict[str, str]:
        """Environment id -> loopback address."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute("SELECT id, address FROM environments")
            return {row["id"]: row["address"] for row in await rows.fetchall()}

    async def secrets(self, environment_id: str) -> EnvironmentSecrets | None:
        async with transaction(self._pool) as connection:
            rows = await connection.execute("SELECT secrets FROM environments WHERE id = %s", (environment_id,))
            row = await rows.fetchone()
        if row is None:
            return None
        return EnvironmentSecrets.from_json(json.loads(self._vault.open(bytes(row["secrets"]), environment_id)))

    async def update(self, before: Environment, event: NewEvent | None = None, **changes: Any) -> Environment | None:
        """Write `changes` and their event if nobody wrote since `before` was read; the new row, or None."""
        after = replace(before, generation=before.generation + 1, **changes)
        async with transaction(self._pool) as connection:
            done = await connection.execute(
                "UPDATE environments SET status = %s, desired = %s, applied = %s, last_update = %s, generation = %s,"
                " runtime = %s, revision = %s, fallback = %s, made = %s WHERE id = %s AND generation = %s",
                (
                    after.status,
                    self._pack(after.id, after.desired),
                    None if after.applied is None else self._pack(after.id, after.applied),
                    _pack_update(after.last_update),
                    after.generation,
                    after.runtime,
                    after.revision,
                    None if after.fallback is None else Jsonb(asdict(after.fallback)),
                    self._seal_made(after),
                    after.id,
                    before.generation,
                ),
            )
            if done.rowcount != 1:
                return None
            if event is not None:
                await event.write(connection, after.id, after.key)
            return after

    async def retag(self, before: Environment, tags: Mapping[str, str], event: NewEvent) -> bool:
        """Write `tags` and the event if the tags are still those of `before`. Nobody's pass is disturbed by it."""
        async with transaction(self._pool) as connection:
            done = await connection.execute(
                "UPDATE environments SET tags = %s WHERE id = %s AND tags = %s",
                (Jsonb(dict(tags)), before.id, Jsonb(dict(before.tags))),
            )
            if done.rowcount == 1:
                await event.write(connection, before.id, before.key)
            return done.rowcount == 1

    async def delete(self, environment_id: str, event: NewEvent | None = None) -> None:
        """Remove the row, its tokens and sessions, and write the event that tells of it. Absent is success."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute(
                "DELETE FROM environments WHERE id = %s RETURNING partition, account, region, name", (environment_id,)
            )
            row = await rows.fetchone()
            if row is not None and event is not None:
                await event.write(connection, environment_id, EnvironmentKey(**row))

    @asynccontextmanager
    async def lease(self, environment_id: str) -> AsyncIterator[bool]:
        """Whether we alone may reconcile the environment while the block runs; the server frees it if we die."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute(
                "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 4610)) AS held", (environment_id,)
            )
            row = await rows.fetchone()
            yield bool(row and row["held"])

    async def _one(self, where: str, values: tuple[str, ...]) -> Environment | None:
        async with transaction(self._pool) as connection:
            rows = await connection.execute(f"SELECT {_COLUMNS} FROM environments WHERE {where}", values)  # noqa: S608
            row = await rows.fetchone()
        return None if row is None else self._unpack(row)

    def _pack(self, environment_id: str, members: Mapping[str, Any]) -> Jsonb:
        packed = dict(members)
        for name in _SENSITIVE:
            if name in packed:
                sealed = self._vault.seal(json.dumps(packed[name]).encode(), f"{environment_id}/{name}")
                packed[name] = _SEALED + base64.b64encode(sealed).decode()
        return Jsonb(packed)

    def _open(self, environment_id: str, packed: Mapping[str, Any]) -> dict[str, Any]:
        members = dict(packed)
        for name in _SENSITIVE:
            value = members.get(name)
            if isinstance(value, str) and value.startswith(_SEALED):
                sealed = base64.b64decode(value[len(_SEALED) :])
                members[name] = json.loads(self._vault.open(sealed, f"{environment_id}/{name}"))
        return members

    def _seal_made(self, environment: Environment) -> bytes | None:
        if not environment.made:
            return None
        return self._vault.seal(json.dumps(environment.made).encode(), f"{environment.id}/made")

    def _open_made(self, row: DictRow) -> dict[str, Any]:
        if row["made"] is None:
            return {}
        opened: dict[str, Any] = json.loads(self._vault.open(bytes(row["made"]), f"{row['id']}/made"))
        return opened

    def _unpack(self, row: DictRow) -> Environment:
        update = row["last_update"]
        return Environment(
            id=row["id"],
            key=EnvironmentKey(row["partition"], row["account"], row["region"], row["name"]),
            status=Status(row["status"]),
            desired=self._open(row["id"], row["desired"]),
            applied=None if row["applied"] is None else self._open(row["id"], row["applied"]),
            last_update=None
            if update is None
            else LastUpdate(**{**update, "created_at": datetime.fromisoformat(update["created_at"])}),
            host=row["host"],
            created_at=row["created_at"],
            generation=row["generation"],
            tags=row["tags"],
            runtime=row["runtime"],
            revision=row["revision"],
            fallback=None if row["fallback"] is None else Fallback(**row["fallback"]),
            made=self._open_made(row),
        )


def _is_version_of(known: Environment, id_: str | None, generation: str | None, tags: str | None) -> bool:
    return (known.id, str(known.generation)) == (id_, generation) and known.tags == json.loads(tags or "{}")


def _pack_update(update: LastUpdate | None) -> Jsonb | None:
    return None if update is None else Jsonb({**asdict(update), "created_at": update.created_at.isoformat()})

"""The environments' rows: insert, read, compare-and-set. Sensitive members lie sealed."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from aerodrome.domain.environment import Environment, EnvironmentKey, Fallback, LastUpdate, Status
from aerodrome.domain.lifecycle import GOALS, Goal
from aerodrome.domain.secrets import EnvironmentSecrets
from aerodrome.errors import Permanent, Temporary
from aerodrome.store import sealed
from aerodrome.store.data_keys import COLUMNS, KeyRing, wrapping
from aerodrome.store.database import Pool, transaction
from aerodrome.store.events import NewEvent
from aerodrome.store.reading import Away
from aerodrome.vault import KEY_BYTES, DataKey, KeyUnusable, Seal, Vault

log = logging.getLogger(__name__)

_SEALED = frozenset({"desired", "applied", "made"})
_NOTHING = DataKey(bytes(KEY_BYTES))  # for what has nothing sealed
_CODE = "INCORRECT_CONFIGURATION"  # UpdateError.ErrorCode (mwaa-spec 1.6)
_KNOWN = 1000  # environments that `get` keeps opened
_COLUMNS = (
    "id, partition, account, region, name, status, desired, applied, last_update, host, created_at, generation, tags,"
    " runtime, revision, fallback, made, data_key, kms_key"
)


class DuplicateName(Exception):
    """There is an environment of this name already."""


class AddressTaken(Exception):
    """Another environment got this loopback address first: choose the next."""


class EnvironmentStore:
    """Reads and writes of `environments`. A write names the generation it read; None back means somebody was first."""

    def __init__(self, pool: Pool, keys: KeyRing | Vault) -> None:
        """`keys`: the vault alone where no KMS wraps data keys."""
        self._pool = pool
        self._keys = KeyRing(keys) if isinstance(keys, Vault) else keys
        self._known: dict[EnvironmentKey, Environment] = {}  # as they were when `get` last read them

    async def insert(
        self, environment: Environment, address: str, secrets: EnvironmentSecrets, event: NewEvent | None = None
    ) -> None:
        """Add the row, and the event that tells of it.

        Raises:
            DuplicateName: the key is taken. AddressTaken: the loopback address is taken.
            Permanent, Temporary: the key of KMS that it names can't be used, or KMS doesn't answer.
        """
        key = environment.key
        new = await self._keys.new(key, environment.desired.get("KmsKey"))
        try:
            async with transaction(self._pool) as connection:
                wrapped = await self._keys.wrapped(connection, environment.id, new)
                await connection.execute(
                    "INSERT INTO environments (id, partition, account, region, name, status, desired, last_update,"
                    " host, address, secrets, created_at, generation, tags, runtime, data_key, kms_key)"
                    " VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s)",
                    (
                        environment.id,
                        key.partition,
                        key.account,
                        key.region,
                        key.name,
                        environment.status,
                        sealed.seal_members(new.key, environment.id, environment.desired),
                        _pack_update(environment.last_update),
                        environment.host,
                        address,
                        sealed.seal_secrets(new.key, environment.id, secrets),
                        environment.created_at,
                        environment.generation,
                        Jsonb(dict(environment.tags)),
                        environment.runtime,
                        wrapped,
                        new.kms_key,
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
        if not environment.desired.get("KmsKey"):  # whose key may be disabled at any time
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
                environments.append(await self._opened(row))
            except (Permanent, Temporary) as error:  # one damaged row, or key of KMS, must not stop the others
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
            rows = await connection.execute(
                f"SELECT {COLUMNS}, secrets FROM environments WHERE id = %s",  # noqa: S608 - constants
                (environment_id,),
            )
            row = await rows.fetchone()
        return None if row is None else sealed.open_secrets(await self._keys.of(row), environment_id, row["secrets"])

    async def update(self, before: Environment, event: NewEvent | None = None, **changes: Any) -> Environment | None:
        """Write `changes` and their event if nobody wrote since `before` was read; the new row, or None.

        What isn't changed isn't written: an environment whose key can't be used can still be deleted.
        """
        after = replace(before, generation=before.generation + 1, **changes)
        async with transaction(self._pool) as connection:
            key = await self._key(connection, before.id) if _SEALED & changes.keys() else None
            columns = {name: _column(name, after, key) for name in ("generation", *changes)}
            assignments = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in columns)
            done = await connection.execute(
                sql.SQL("UPDATE environments SET {} WHERE id = %s AND generation = %s").format(assignments),
                (*columns.values(), after.id, before.generation),
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
        self._keys.forget(environment_id)

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
        return None if row is None else await self._opened(row)

    async def _opened(self, row: DictRow) -> Environment:
        """Raises Permanent: it doesn't open. Of one whose key of KMS can't be used there is what lies open."""
        try:
            return _unpack(row, await self._keys.of(row))
        except KeyUnusable as error:
            return _closed(row, str(error))

    async def _key(self, connection: AsyncConnection[DictRow], environment_id: str) -> Seal | None:
        """What to seal with in this transaction; None when there is no such row. Who changes the key changes the
        generation with it.
        """
        rows = await connection.execute(
            f"SELECT {COLUMNS} FROM environments WHERE id = %s",  # noqa: S608 - constants
            (environment_id,),
        )
        row = await rows.fetchone()
        if row is not None and row["data_key"] is None:
            await wrapping(connection)
        return None if row is None else await self._keys.of(row)


def _unpack(row: DictRow, key: Seal) -> Environment:
    update = row["last_update"]
    return Environment(
        id=row["id"],
        key=EnvironmentKey(row["partition"], row["account"], row["region"], row["name"]),
        status=Status(row["status"]),
        desired=sealed.open_members(key, row["id"], row["desired"]),
        applied=None if row["applied"] is None else sealed.open_members(key, row["id"], row["applied"]),
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
        made=sealed.open_made(key, row["id"], row["made"]),
    )


def _closed(row: DictRow, why: str) -> Environment:
    """Without what lies sealed, and with the reason as its last update's; UNAVAILABLE if it was to run."""
    bare = {name: None if row[name] is None else sealed.without(row[name]) for name in ("desired", "applied")}
    found = _unpack({**row, **bare, "made": None}, _NOTHING)
    lasting = found.status in (Status.CREATING, Status.PENDING) or GOALS[found.status] is not Goal.RUN
    moment = found.last_update.created_at if found.last_update else found.created_at
    return replace(
        found,
        status=found.status if lasting else Status.UNAVAILABLE,
        last_update=LastUpdate("FAILED", moment, error_code=_CODE, error_message=why),
        closed=why,
    )


def _column(name: str, environment: Environment, key: Seal | None) -> Any:
    """What the row holds of that field. `key`: where it lies sealed; None: there is no such row any more."""
    value = getattr(environment, name)
    match name:
        case "desired" | "applied":
            return None if key is None or value is None else sealed.seal_members(key, environment.id, value)
        case "made":
            return None if key is None else sealed.seal_made(key, environment.id, value)
        case "last_update":
            return _pack_update(value)
        case "fallback":
            return None if value is None else Jsonb(asdict(value))
        case _:
            return value


def _is_version_of(known: Environment, id_: str | None, generation: str | None, tags: str | None) -> bool:
    return (known.id, str(known.generation)) == (id_, generation) and known.tags == json.loads(tags or "{}")


def _pack_update(update: LastUpdate | None) -> Jsonb | None:
    return None if update is None else Jsonb({**asdict(update), "created_at": update.created_at.isoformat()})

"""Other keys for what lies sealed: another data key for an environment, another master key for everything.

Each environment is one transaction, and so is the exchange of the master key: whatever is killed, every row opens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from psycopg import AsyncConnection, sql
from psycopg.rows import DictRow

from aerodrome.domain.environment import EnvironmentKey
from aerodrome.errors import Permanent
from aerodrome.store import sealed
from aerodrome.store.access_keys import context_of
from aerodrome.store.data_keys import COLUMNS, KeyRing, exchanging, row_context, wrapping
from aerodrome.store.database import Pool, transaction
from aerodrome.vault import Vault

log = logging.getLogger(__name__)


async def rekey(pool: Pool, keys: KeyRing, environment_id: str) -> bool:
    """Give the environment a new data key and seal everything of it anew; False when it is gone.

    Writers that read the row before find that somebody was first.

    Raises:
        Permanent: it doesn't open, or its key of KMS can't be used. Temporary: KMS doesn't answer.
    """
    async with transaction(pool) as connection:
        await wrapping(connection)
        rows = await connection.execute(
            f"SELECT {COLUMNS}, desired, applied, made, secrets FROM environments WHERE id = %s FOR UPDATE",  # noqa: S608
            (environment_id,),
        )
        row = await rows.fetchone()
        if row is None:
            return False
        old = await keys.of(row)
        new = await keys.new(
            EnvironmentKey(row["partition"], row["account"], row["region"], row["name"]), row["kms_key"]
        )
        applied = None if row["applied"] is None else sealed.open_members(old, environment_id, row["applied"])
        secrets = sealed.open_secrets(old, environment_id, row["secrets"])
        await connection.execute(
            "UPDATE environments SET desired = %s, applied = %s, made = %s, secrets = %s, data_key = %s,"
            " generation = generation + 1 WHERE id = %s",
            (
                sealed.seal_members(new.key, environment_id, sealed.open_members(old, environment_id, row["desired"])),
                None if applied is None else sealed.seal_members(new.key, environment_id, applied),
                sealed.seal_made(new.key, environment_id, sealed.open_made(old, environment_id, row["made"])),
                sealed.seal_secrets(new.key, environment_id, secrets),
                await keys.wrapped(connection, environment_id, new),
                environment_id,
            ),
        )
    return True


async def rekey_old(pool: Pool, keys: KeyRing) -> list[str]:
    """Give a data key to every environment of an earlier release that has none; the ids of those that got one.

    One that can't be read is logged, and stays as it is.
    """
    async with transaction(pool) as connection:
        rows = await connection.execute("SELECT id FROM environments WHERE data_key IS NULL ORDER BY id")
        found = [row["id"] for row in await rows.fetchall()]
    done = []
    for environment_id in found:
        try:
            if await rekey(pool, keys, environment_id):
                done.append(environment_id)
        except Permanent as error:
            log.error("environment %s stays as an earlier release sealed it: %s", environment_id, error)
    return done


# What the master key wraps: table, key column, sealed column, and what a row's is sealed for.
_WRAPPED: tuple[tuple[str, str, str, Callable[[Any], str]], ...] = (
    ("environments", "id", "data_key", row_context),
    ("access_keys", "id", "secret", lambda row: context_of(row["id"])),
    ("role_sessions", "key_id", "secret", lambda row: context_of(row["key_id"])),
)


async def rewrap(pool: Pool, vault: Vault, told: Callable[[int, int], None]) -> list[str]:
    """Wrap everything under the newest master key; what didn't open, and so stays as it is, as lines for people.

    `told` gets how many records are done, of how many. Nothing is changed unless all of it is.
    """
    left = []
    async with transaction(pool) as connection:
        await exchanging(connection)
        found = [(table, row) for table in _WRAPPED for row in await _rows(connection, table)]
        for done, ((table, key, column, context), row) in enumerate(found):
            told(done, len(found))
            try:
                again = vault.rewrapped(bytes(row[column]), context(row))
            except Permanent as error:
                left.append(f"{table} {row[key]}: {error}")
                continue
            if again is not None:
                await connection.execute(
                    sql.SQL("UPDATE {} SET {} = %s WHERE {} = %s").format(*map(sql.Identifier, (table, column, key))),
                    (again, row[key]),
                )
        told(len(found), len(found))
    return left


async def _rows(connection: AsyncConnection[DictRow], table: tuple[str, str, str, object]) -> Iterable[DictRow]:
    name, key, column, _ = table
    more = [sql.Identifier("kms_key")] if name == "environments" else []
    columns = sql.SQL(", ").join([sql.Identifier(key), sql.Identifier(column), *more])
    statement = sql.SQL("SELECT {} FROM {} WHERE {} IS NOT NULL ORDER BY {}")
    names = sql.Identifier(name), sql.Identifier(column), sql.Identifier(key)
    return await (await connection.execute(statement.format(columns, *names))).fetchall()

"""The pool of connections to our own database, and its migrations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from aerodrome.errors import Temporary
from aerodrome.store.reading import Reader


class Pool(AsyncConnectionPool[AsyncConnection[DictRow]]):
    """Connections for transactions; `reader` for reads that need none."""

    reader: Reader


_MIGRATION_LOCK = 4610_0001
DATABASE = "aerodrome"
_OF = "FROM environments WHERE partition = $1 AND account = $2 AND region = $3"
# Sessions that stand, as one JSON text each: what PostgreSQL writes, a reader gets.
SIGNED_IN = """
    SELECT json_build_object(
        'id', sessions.id, 'environment_id', environment_id, 'username', username, 'iam_identity', iam_identity,
        'roles', roles, 'reference', reference, 'source_ip', source_ip, 'tags', environments.tags,
        'created', extract(epoch FROM sessions.created_at), 'expires', extract(epoch FROM expires_at),
        'seen', extract(epoch FROM seen_at),
        'key', json_build_array(environments.partition, account, region, name))
    FROM sessions JOIN environments ON environments.id = environment_id
    WHERE ended IS NULL AND status <> 'DELETING'"""
READS = {  # what `Pool.reader` is asked
    "version_of_environment": f"SELECT id, generation, tags {_OF} AND name = $4",
    # One JSON text, since a page is read faster than its rows.
    "names_of_environments": (
        'SELECT json_agg(name ORDER BY name COLLATE "C")'  # noqa: S608 - constants
        f' FROM (SELECT name {_OF} AND name COLLATE "C" > $4 ORDER BY name COLLATE "C" LIMIT $5) AS page'
    ),
    "session_by_cookie": (
        f"{SIGNED_IN} AND sessions.id = (SELECT session_id FROM session_cookies WHERE hash = $1)"  # noqa: S608 - constants
    ),
}


async def create_database(server_url: str) -> str:
    """Make our database on the server unless it is there; return its URL."""
    async with await AsyncConnection.connect(f"{server_url}/postgres", autocommit=True) as connection:
        found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        if await found.fetchone() is None:
            with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):  # another was first
                await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        for name in (DATABASE, "postgres", "template1"):  # the roles of environments have no business in them
            await connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
    return f"{server_url}/{DATABASE}"


async def migrate(url: str) -> list[str]:
    """Apply the migrations that are missing, each in a transaction; return their names. Safe to run twice at once."""
    scripts = sorted(
        (entry for entry in files("aerodrome.store").joinpath("migrations").iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    applied: list[str] = []
    async with await AsyncConnection.connect(url) as connection:
        for script in scripts:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
                await connection.execute(
                    "CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, at timestamptz DEFAULT now())"
                )
                done = await connection.execute("SELECT 1 FROM migrations WHERE name = %s", (script.name,))
                if await done.fetchone() is not None:
                    continue
                await connection.execute(script.read_text().encode())
                await connection.execute("INSERT INTO migrations (name) VALUES (%s)", (script.name,))
                applied.append(script.name)
    return applied


@asynccontextmanager
async def open_pool(url: str, *, size: int = 12, read_soon: bool = True) -> AsyncIterator[Pool]:
    """A pool of at most `size` connections, each checked before use, so that a restarted server is survived.

    The connection of its `reader` is opened at once, or, unless `read_soon`, by the first read.
    """
    options: dict[str, Any] = {"row_factory": dict_row}
    pool = Pool(
        url,
        min_size=1,
        max_size=size,
        kwargs=options,
        check=AsyncConnectionPool.check_connection,
        open=False,
        timeout=10,
        max_idle=10,  # seconds until one that wasn't needed is closed; each costs the server 2 to 3 MB
    )
    pool.reader = Reader(url, READS)
    await pool.open(wait=True)
    try:
        if read_soon:
            await pool.reader.open()
        yield pool
    finally:
        await pool.reader.close()
        await pool.close()


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[AsyncConnection[DictRow]]:
    """One transaction.

    Raises:
        Temporary: the database is away for a moment, or its disk is full.
    """
    try:
        async with pool.connection() as connection, connection.transaction():
            yield connection
    except psycopg.errors.DiskFull as error:
        raise Temporary(f"The database's disk is full; free some space: {error}", retry_after=5.0) from error
    except (psycopg.OperationalError, PoolTimeout) as error:
        raise Temporary(f"The database is away: {error}", retry_after=1.0) from error

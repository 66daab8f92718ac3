"""Metadata databases of environments: cloned from a runtime's template, dropped with the environment.

Every function may be called again after any failure, also after `kill -9` of us or of the server in its middle.
`server_url` is the superuser's URL without a database. Nobody but superuser and role may connect to a clone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import AsyncConnection, errors, sql

from aerodrome.errors import Temporary

READY = "aerodrome: ready"
_OURS = 5  # connections to a clone besides its role's
_INVALID = -2  # datconnlimit of a database whose DROP was interrupted (PostgreSQL 15.4 and later)


def database_name(environment_id: str) -> str:
    """Name of the environment's database, and of its role."""
    return f"env_{environment_id}"


def template_name(key: str) -> str:
    """Name of the runtime's template database, and of the role that owns what is in it."""
    return "template_" + key.replace(".", "_").replace("-", "_")


def database_url(server_url: str, environment_id: str, password: str) -> str:
    """The URL with which the environment's components reach their database."""
    name = database_name(environment_id)
    parts = urlsplit(server_url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(("postgresql", f"{name}:{quote(password, safe='')}@{place}", f"/{name}", parts.query, ""))


@asynccontextmanager
async def connect(server_url: str, database: str = "postgres") -> AsyncIterator[AsyncConnection]:
    """A connection as the superuser, each statement on its own.

    Raises:
        Temporary: the server is away, or has no room.
    """
    parts = urlsplit(server_url)
    url = urlunsplit((parts.scheme, parts.netloc, f"/{database}", parts.query, ""))
    try:
        connection = await AsyncConnection.connect(url, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise Temporary(f"PostgreSQL can't be reached for database {database}: {error}", 2.0) from error
    try:
        async with connection:
            yield connection
    except (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow) as error:
        raise Temporary(f"PostgreSQL went away while we used database {database}: {error}", 2.0) from error
    except errors.DiskFull as error:
        raise Temporary(
            f"The disk of PostgreSQL is full (database {database}); free some space: {error}", 5.0
        ) from error
    except (errors.TooManyConnections, errors.OutOfMemory) as error:
        raise Temporary(f"PostgreSQL is at its limit (database {database}): {error}", 2.0) from error
    except psycopg.OperationalError as error:
        if connection.closed:
            raise Temporary(f"The connection to PostgreSQL broke ({database}): {error}", 2.0) from error
        raise


@asynccontextmanager
async def locked(connection: AsyncConnection, name: str) -> AsyncIterator[None]:
    """One at a time per name; the server gives the lock back when the connection ends."""
    await connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 4610))", (name,))
    try:
        yield
    finally:
        if not connection.closed:
            await connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 4610))", (name,))


async def clone(
    server_url: str,
    key: str,
    environment_id: str,
    password: str,
    connection_limit: int = 80,
    *,
    may_shrink: bool = True,
) -> None:
    """The environment's role and database, the latter a copy of the runtime's template; sets the password again.

    Without `may_shrink`, a limit that is higher than `connection_limit` already is left as it is.

    Raises:
        Temporary: the template isn't ready yet, or the server is away.
    """
    name, template = database_name(environment_id), template_name(key)
    async with connect(server_url) as connection, locked(connection, name):
        if not may_shrink:
            connection_limit = max(connection_limit, await _limit_of_role(connection, name))
        await _ensure_role(connection, name, password, connection_limit)
        state = await describe(connection, name)
        if state == "invalid":
            await _drop_database(connection, name)
            state = None
        if state is None:
            if await describe(connection, template) != READY:
                raise Temporary(f"The template database of runtime {key} isn't ready yet.", 2.0)
            try:
                await connection.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE {} CONNECTION LIMIT {}").format(
                        sql.Identifier(name), sql.Identifier(template), sql.Literal(connection_limit + _OURS)
                    )
                )
            except errors.ObjectInUse as error:
                raise Temporary(f"The template database of runtime {key} is in use: {error}", 1.0) from error
        if state != READY:
            await _hand_over(server_url, name, template)
        await _ensure_limit(connection, name, connection_limit + _OURS)


async def drop(server_url: str, environment_id: str) -> None:
    """Remove the environment's database, whoever is connected, and its role. Absent is success.

    Raises:
        Temporary: the server is away.
    """
    name = database_name(environment_id)
    async with connect(server_url) as connection, locked(connection, name):
        await _drop_database(connection, name)
        await connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


async def describe(connection: AsyncConnection, name: str) -> str | None:
    """The database's comment ("" for none), "invalid" when its DROP was interrupted, None when there is none."""
    cursor = await connection.execute(
        "SELECT datconnlimit, coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname = %s",
        (name,),
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    return "invalid" if row[0] == _INVALID else str(row[1])


async def _ensure_role(connection: AsyncConnection, name: str, password: str, limit: int) -> None:
    """A role that may log in, and nothing else. The server is told the password's SCRAM verifier only."""
    role = sql.Identifier(name)
    with suppress(errors.DuplicateObject):
        await connection.execute(sql.SQL("CREATE ROLE {}").format(role))
    verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    await connection.execute(
        sql.SQL(
            "ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS "
            "CONNECTION LIMIT {} PASSWORD {}"
        ).format(role, sql.Literal(limit), sql.Literal(verifier))
    )


async def _limit_of_role(connection: AsyncConnection, name: str) -> int:
    """How many connections the role may have; -1 when there is no such role, or no limit."""
    cursor = await connection.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = %s", (name,))
    row = await cursor.fetchone()
    return -1 if row is None else int(row[0])


async def _ensure_limit(connection: AsyncConnection, name: str, limit: int) -> None:
    """It grows and shrinks with the environment. Written only when it differs: this is called all the time."""
    cursor = await connection.execute("SELECT datconnlimit FROM pg_database WHERE datname = %s", (name,))
    if await cursor.fetchone() != (limit,):
        await connection.execute(
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(sql.Identifier(name), sql.Literal(limit))
        )


async def _hand_over(server_url: str, name: str, template: str) -> None:
    """Give all that is in the clone to its role, shut everybody else out, say that it is ready: one transaction.

    REASSIGN OWNED reaches shared objects too; the template's role owns none.
    """
    role, owner = sql.Identifier(name), sql.Identifier(template)
    async with connect(server_url, name) as connection, connection.transaction():
        await connection.execute(sql.SQL("REASSIGN OWNED BY {} TO {}").format(owner, role))
        await connection.execute(sql.SQL("REVOKE ALL ON SCHEMA public FROM PUBLIC, {}").format(owner))
        await connection.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(role))
        await connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(role))
        await connection.execute(sql.SQL("GRANT CONNECT, TEMPORARY, CREATE ON DATABASE {} TO {}").format(role, role))
        await connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(role, sql.Literal(READY)))


async def _drop_database(connection: AsyncConnection, name: str) -> None:
    await connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

"""Clones of a template on a real server, interrupted at every point. The template here holds one table."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from aerodrome.errors import Temporary
from aerodrome.runtimes import database
from aerodrome.runtimes.database import READY, clone, database_name, database_url, drop, template_name
from support.postgres import free_port

KEY = "9.9.9-py3.11-000000000000"
ONE, TWO = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
PASSWORD = "a/b c@d"


def superuser(server: str, name: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(f"{server}/{name}", autocommit=True)


@pytest.fixture
def server(postgres_url: str) -> Iterator[str]:
    """The server, with a template that is ready."""
    name = template_name(KEY)
    with superuser(postgres_url) as connection:
        connection.execute(f"CREATE ROLE {name}")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 OWNER {name}")
    with superuser(postgres_url, name) as connection:
        connection.execute(f"SET ROLE {name}")
        connection.execute("CREATE TABLE dag (id serial PRIMARY KEY, name text)")
        connection.execute("CREATE TYPE mood AS ENUM ('good')")
        connection.execute("INSERT INTO dag (name) VALUES ('from the template')")
    with superuser(postgres_url) as connection:
        connection.execute(f"ALTER DATABASE {name} OWNER TO CURRENT_USER")
        connection.execute(f"ALTER DATABASE {name} IS_TEMPLATE true ALLOW_CONNECTIONS false")
        connection.execute(f"COMMENT ON DATABASE {name} IS '{READY}'")
    yield postgres_url
    asyncio.run(drop(postgres_url, ONE))
    asyncio.run(drop(postgres_url, TWO))
    with superuser(postgres_url) as connection:
        connection.execute(f"ALTER DATABASE {name} IS_TEMPLATE false")
        connection.execute(f"DROP DATABASE {name}")
        connection.execute(f"DROP ROLE {name}")


def assert_whole(server: str, environment_id: str, password: str = PASSWORD) -> None:
    """The environment's role can do with its tables what migrations do."""
    with psycopg.connect(database_url(server, environment_id, password), autocommit=True) as connection:
        connection.execute("INSERT INTO dag (name) VALUES ('mine')")
        connection.execute("ALTER TABLE dag ADD COLUMN more mood")
        connection.execute("CREATE TABLE more (id int)")
        assert connection.execute("SELECT count(*) FROM dag").fetchone() == (2,)


async def test_a_clone_is_the_environments_own(server: str) -> None:
    await clone(server, KEY, ONE, PASSWORD)
    assert_whole(server, ONE)


async def test_nobody_else_gets_in(server: str) -> None:
    await clone(server, KEY, ONE, PASSWORD)
    await clone(server, KEY, TWO, "two")
    own = database_url(server, TWO, "two").removesuffix(database_name(TWO))
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(own + database_name(ONE))
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        psycopg.connect(own + template_name(KEY))
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(database_url(server, ONE, "two"))


async def test_the_role_can_do_nothing_to_the_server(server: str) -> None:
    await clone(server, KEY, ONE, PASSWORD, connection_limit=3)
    with psycopg.connect(database_url(server, ONE, PASSWORD), autocommit=True) as connection:
        for statement in ("CREATE ROLE x", "CREATE DATABASE x", f"DROP DATABASE {database_name(TWO)}"):
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidCatalogName)):
                connection.execute(statement.encode())
        held = [psycopg.connect(database_url(server, ONE, PASSWORD)) for _ in range(2)]
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            psycopg.connect(database_url(server, ONE, PASSWORD))
        for other in held:
            other.close()


async def test_again_changes_nothing_but_the_password(server: str) -> None:
    await clone(server, KEY, ONE, PASSWORD)
    assert_whole(server, ONE)
    await clone(server, KEY, ONE, "new")
    with psycopg.connect(database_url(server, ONE, "new")) as connection:
        assert connection.execute("SELECT count(*) FROM dag").fetchone() == (2,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(database_url(server, ONE, PASSWORD))


@pytest.mark.parametrize("limit", [90, 20])
async def test_the_limits_follow_the_environment(server: str, limit: int) -> None:
    """It may have grown or shrunk since: of the role and of the database, whichever is lower counts."""
    await clone(server, KEY, ONE, PASSWORD, connection_limit=40)
    await clone(server, KEY, ONE, PASSWORD, connection_limit=limit)
    name = database_name(ONE)
    with superuser(server) as connection:
        role = connection.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
        database = connection.execute("SELECT datconnlimit FROM pg_database WHERE datname = %s", (name,)).fetchone()
    assert role == (limit,)
    assert database is not None
    assert database[0] >= limit


@pytest.mark.parametrize(("asked", "granted"), [(30, 40), (50, 50)])
async def test_a_limit_that_may_not_shrink_still_grows(server: str, asked: int, granted: int) -> None:
    """Old workers at their tasks open connections, too."""
    await clone(server, KEY, ONE, PASSWORD, connection_limit=40, may_shrink=False)
    await clone(server, KEY, ONE, PASSWORD, connection_limit=asked, may_shrink=False)
    with superuser(server) as connection:
        query = (
            "SELECT rolconnlimit, datconnlimit FROM pg_roles JOIN pg_database ON rolname = datname WHERE datname = %s"
        )
        found = connection.execute(query, (database_name(ONE),)).fetchone()
    assert found is not None
    assert found[0] == granted
    assert found[1] >= granted


async def test_two_at_once_make_one(server: str) -> None:
    await asyncio.gather(*(clone(server, KEY, ONE, PASSWORD) for _ in range(4)))
    assert_whole(server, ONE)


@pytest.mark.parametrize("statement", ["CREATE ROLE", "ALTER ROLE", "CREATE DATABASE", "REASSIGN", "REVOKE", "COMMENT"])
@pytest.mark.parametrize("after", [False, True])
async def test_a_clone_that_was_cut_off_is_finished_by_the_next(
    server: str, statement: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off: the connection is gone before, or right after, the statement."""
    execute = psycopg.AsyncConnection.execute

    class Killed(BaseException):
        pass

    async def dies(connection: psycopg.AsyncConnection, query: object, *args: object, **more: object) -> object:
        text = query.as_string(connection) if isinstance(query, psycopg.sql.Composable) else str(query)
        if not text.startswith(statement):
            return await execute(connection, query, *args, **more)  # type: ignore[call-overload]
        if after:
            await execute(connection, query, *args, **more)  # type: ignore[call-overload]
        await connection.close()
        raise Killed

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", dies)
    with pytest.raises(Killed):
        await clone(server, KEY, ONE, PASSWORD)
    monkeypatch.undo()
    await clone(server, KEY, ONE, PASSWORD)
    assert_whole(server, ONE)


async def test_a_database_whose_drop_was_cut_off_is_made_again(server: str) -> None:
    await clone(server, KEY, ONE, PASSWORD)
    with superuser(server) as connection:  # what PostgreSQL leaves when a DROP is interrupted
        connection.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = %s", (database_name(ONE),))
    await clone(server, KEY, ONE, PASSWORD)
    assert_whole(server, ONE)


async def test_no_template_no_clone(server: str) -> None:
    with pytest.raises(Temporary, match=r"template database of runtime 1\.2\.3-py3\.11-000000000000 isn't ready"):
        await clone(server, "1.2.3-py3.11-000000000000", ONE, PASSWORD)
    with superuser(server) as connection:
        connection.execute(f"COMMENT ON DATABASE {template_name(KEY)} IS NULL")
    with pytest.raises(Temporary, match="isn't ready"):
        await clone(server, KEY, ONE, PASSWORD)


async def test_dropping_takes_all_and_may_be_repeated(server: str) -> None:
    await clone(server, KEY, ONE, PASSWORD)
    with psycopg.connect(database_url(server, ONE, PASSWORD)) as busy:
        await drop(server, ONE)
        with pytest.raises(psycopg.OperationalError):
            busy.execute("SELECT 1")
    await drop(server, ONE)
    with superuser(server) as connection:
        name = (database_name(ONE),)
        assert connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", name).fetchone() is None
        assert connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", name).fetchone() is None


async def test_a_server_that_is_away_is_a_temporary_trouble() -> None:
    away = f"postgresql://aerodrome:x@127.0.0.1:{free_port()}"
    for call in (clone(away, KEY, ONE, PASSWORD), drop(away, ONE)):
        with pytest.raises(Temporary, match="can't be reached"):
            await call


async def test_no_password_reaches_the_server_as_text(server: str) -> None:
    seen: list[str] = []
    execute = psycopg.AsyncConnection.execute

    async def watch(connection: psycopg.AsyncConnection, query: object, *args: object, **more: object) -> object:
        seen.append(query.as_string(connection) if isinstance(query, psycopg.sql.Composable) else str(query))
        return await execute(connection, query, *args, **more)  # type: ignore[call-overload]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.AsyncConnection, "execute", watch)
        await database.clone(server, KEY, ONE, "very-secret")
    assert any("SCRAM-SHA-256$" in text for text in seen)
    assert not [text for text in seen if "very-secret" in text]

from __future__ import annotations

import asyncio
from datetime import timedelta
from importlib.resources import files

import pytest

from aerodrome.api.sessions import is_of
from aerodrome.domain.environment import Environment, Status
from aerodrome.store.database import Pool
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.sessions import SessionStore
from aerodrome.store.tokens import TokenStore, digest
from aerodrome.store.vault import Vault
from support.signed_in import granted
from support.world import NOW, SECRETS, environment

LATER = NOW + timedelta(hours=12)


@pytest.fixture
async def made(pool: Pool) -> Environment:
    row = environment()
    await EnvironmentStore(pool, Vault(b"k" * 32)).insert(row, "127.83.1.1", SECRETS)
    return row


@pytest.fixture
def sessions(pool: Pool) -> SessionStore:
    return SessionStore(pool)


@pytest.mark.parametrize("by_reader", [True, False])
async def test_a_session_comes_back_as_it_was_until_it_expires(
    sessions: SessionStore, pool: Pool, made: Environment, by_reader: bool
) -> None:
    grant = granted(made.id, "Op", "Viewer")
    session_id = await sessions.open("ab", grant, NOW, LATER)
    if not by_reader:
        await pool.reader.close()
    found = await sessions.find("ab", NOW)
    assert found is not None
    assert (found.id, found.grant, found.key, found.tags) == (session_id, grant, made.key, made.tags)
    assert (found.created, found.expires, found.seen) == (NOW, LATER, NOW)
    assert await sessions.find("ab", LATER) is None
    assert await sessions.find("ac", NOW) is None
    assert [each.id for each in await sessions.all(NOW)] == [session_id]
    assert await sessions.all(LATER) == []


async def test_all_of_its_cookies_end_with_it_and_none_comes_back(sessions: SessionStore, made: Environment) -> None:
    session_id = await sessions.open("first", granted(made.id), NOW, LATER)
    await sessions.follow("second", session_id)
    assert await sessions.find("second", NOW) == await sessions.find("first", NOW)
    assert await sessions.end([session_id], "test") == 1
    assert await sessions.end([session_id], "test") == 0
    await sessions.follow("third", session_id)  # Airflow replaced it just then
    await sessions.open("first", granted(made.id), NOW, LATER)
    for cookie in ("first", "second", "third"):
        assert await sessions.find(cookie, NOW) is None


async def test_a_cookie_that_is_signed_in_again_belongs_to_the_new_session(
    sessions: SessionStore, made: Environment
) -> None:
    await sessions.open("ab", granted(made.id), NOW, NOW + timedelta(hours=1))
    again = await sessions.open("ab", granted(made.id), NOW, LATER)
    found = await sessions.find("ab", NOW)
    assert found is not None
    assert (found.id, found.expires) == (again, LATER)


async def test_other_roles_end_the_users_earlier_sessions_and_nobody_elses(
    sessions: SessionStore, made: Environment
) -> None:
    """Airflow knows one set of roles per user: who signed in with fewer would have those of the next."""
    await sessions.open("viewer", granted(made.id, "Viewer"), NOW, LATER)
    await sessions.open("somebody", granted(made.id, "Viewer", user="user/b"), NOW, LATER)
    await sessions.open("again", granted(made.id, "Viewer"), NOW, LATER)
    assert await sessions.find("viewer", NOW) is not None
    await sessions.open("admin", granted(made.id, "Admin"), NOW, LATER)
    there = [cookie for cookie in ("viewer", "again", "somebody", "admin") if await sessions.find(cookie, NOW)]
    assert there == ["somebody", "admin"]


@pytest.mark.parametrize("by_reader", [True, False])
async def test_an_environment_that_is_being_deleted_lets_nobody_in(
    sessions: SessionStore, pool: Pool, made: Environment, by_reader: bool
) -> None:
    tokens = TokenStore(pool)
    await sessions.open("ab", granted(made.id), NOW, LATER)
    await tokens.add("web", "web", granted(made.id), NOW)
    await tokens.add("cli", "cli", granted(made.id), NOW)
    await EnvironmentStore(pool, Vault(b"k" * 32)).update(made, status=Status.DELETING)
    if not by_reader:
        await pool.reader.close()
    assert await sessions.find("ab", NOW) is None
    assert await sessions.all(NOW) == []
    assert await tokens.redeem_web("web", NOW) is None
    assert await tokens.check_cli("cli", NOW) is None


async def test_what_has_expired_is_swept(sessions: SessionStore, pool: Pool, made: Environment) -> None:
    await sessions.open("ab", granted(made.id), NOW, NOW + timedelta(hours=1))
    kept = await sessions.open("ac", granted(made.id), NOW, LATER)
    await sessions.sweep(NOW + timedelta(hours=2))
    async with pool.connection() as connection:
        rows = await (await connection.execute("SELECT session_id FROM session_cookies")).fetchall()
    assert [row["session_id"] for row in rows] == [kept]


async def test_two_at_once_with_other_roles_leave_one_set_of_roles(sessions: SessionStore, made: Environment) -> None:
    roles = ("Admin", "Op", "User", "Viewer") * 3
    await asyncio.gather(
        *(sessions.open(f"{number:02}", granted(made.id, role), NOW, LATER) for number, role in enumerate(roles))
    )
    assert len({session.grant.roles for session in await sessions.all(NOW)}) == 1


async def test_no_secret_lies_in_the_rows(sessions: SessionStore, pool: Pool, made: Environment) -> None:
    await TokenStore(pool).add("the-web-token", "web", granted(made.id), NOW)
    await sessions.open("ab", granted(made.id), NOW, LATER)
    async with pool.connection() as connection:
        for table in ("tokens", "sessions", "session_cookies"):
            query = f"SELECT {table}::text AS whole FROM {table}"  # noqa: S608 - constants
            rows = await (await connection.execute(query.encode())).fetchall()
            assert rows
            assert not any("the-web-token" in row["whole"] for row in rows)


def test_the_migration_ends_what_an_earlier_release_let_in() -> None:
    """It can't know whose key that was."""
    script = files("aerodrome.store").joinpath("migrations/0008_sessions.sql").read_text()
    assert script.index("DELETE FROM tokens") < script.index("ADD COLUMN reference jsonb NOT NULL")
    assert "DROP TABLE sessions" in script


async def test_a_token_that_is_revoked_between_its_use_and_the_session_opens_none(
    sessions: SessionStore, pool: Pool, made: Environment
) -> None:
    tokens = TokenStore(pool)
    for token in ("one", "two"):
        await tokens.add(token, "web", granted(made.id), NOW)
        assert await tokens.redeem_web(token, NOW) is not None
    assert await sessions.open("ab", granted(made.id), NOW, LATER, digest("one")) is not None
    await tokens.forget([made.id])
    assert await sessions.open("ac", granted(made.id), NOW, LATER, digest("two")) is None
    assert await sessions.find("ac", NOW) is None


@pytest.mark.parametrize(
    ("user", "gone"),
    [
        ("user/ann", {"ann"}),
        ("ann", {"ann"}),
        ("assumed-role/Dev", {"dev-1", "dev-2"}),
        ("assumed-role/Dev/two", {"dev-2"}),
        ("assumed-role/De", set()),
        ("nobody", set()),
        ("%", set()),
        (None, {"ann", "dev-1", "dev-2"}),
    ],
)
async def test_tokens_of_one_user_or_of_all_are_forgotten(
    pool: Pool, made: Environment, user: str | None, gone: set[str]
) -> None:
    tokens = TokenStore(pool)
    people = {"ann": "user/ann", "dev-1": "assumed-role/Dev/one", "dev-2": "assumed-role/Dev/two"}
    for token, identity in people.items():
        await tokens.add(token, "web", granted(made.id, user=identity), NOW)
    await tokens.forget(["another"], user)
    await tokens.forget([made.id], user)
    assert {token for token in people if await tokens.redeem_web(token, NOW) is None} == gone
    assert {token for token, identity in people.items() if user is None or is_of(identity, identity, user)} == gone

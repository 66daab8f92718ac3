from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import psycopg
import pytest
from psycopg.rows import dict_row

from aerodrome.store.database import Pool, migrate
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.events import NewEvent
from aerodrome.store.vault import Vault
from support.world import SECRETS, environment

EVENT = NewEvent("tags.changed", "TagResource")


@pytest.fixture
def store(pool: Pool) -> EnvironmentStore:
    return EnvironmentStore(pool, Vault(b"k" * 32))


async def events(pool: Pool) -> int:
    async with pool.connection() as connection:
        rows = await connection.execute("SELECT count(*) AS count FROM events")
        row = await rows.fetchone()
    assert row is not None
    return int(row["count"])


async def test_the_first_of_two_writers_wins_and_the_other_is_told(store: EnvironmentStore, pool: Pool) -> None:
    made = environment()
    await store.insert(made, "127.83.1.1", SECRETS)
    assert await store.retag(made, {"a": "1"}, EVENT)
    assert not await store.retag(made, {"b": "1"}, EVENT)
    found = await store.get(made.key)
    assert found == replace(made, tags={"a": "1"})
    assert await events(pool) == 1, "what was not written is not told"


async def test_what_get_knows_is_as_fresh_as_the_tags(store: EnvironmentStore, pool: Pool) -> None:
    made = environment()
    await store.insert(made, "127.83.1.1", SECRETS)
    assert await store.get(made.key) is await store.get(made.key)
    assert await EnvironmentStore(pool, Vault(b"k" * 32)).retag(made, {"a": "1"}, EVENT)
    found = await store.get(made.key)
    assert found is not None
    assert (found.tags, found.generation) == ({"a": "1"}, made.generation)


async def test_another_environment_of_the_same_name_keeps_its_tags(store: EnvironmentStore) -> None:
    gone, made = environment(), environment(id_="ba9876543210")
    await store.insert(gone, "127.83.1.1", SECRETS)
    await store.delete(gone.id)
    await store.insert(made, "127.83.1.1", SECRETS)
    assert not await store.retag(gone, {"a": "1"}, EVENT)
    assert await store.get(made.key) == made


async def test_tags_of_an_earlier_release_move_to_their_own_column(postgres_url: str) -> None:
    with psycopg.connect(f"{postgres_url}/postgres", autocommit=True) as server:
        server.execute("CREATE DATABASE earlier")
    url = f"{postgres_url}/earlier"
    migrations = files("aerodrome.store").joinpath("migrations")
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute("CREATE TABLE migrations (name text PRIMARY KEY, at timestamptz DEFAULT now())")
        for name in ("0001_environments.sql", "0002_runtime.sql"):
            connection.execute(migrations.joinpath(name).read_bytes())
            connection.execute("INSERT INTO migrations (name) VALUES (%s)", (name,))
        rows = [("a", '{"X": 1, "Tags": {"t": "1"}}', '{"Tags": {}}'), ("b", '{"X": 2}', None)]
        for name, desired, applied in rows:
            connection.execute(
                "INSERT INTO environments (id, partition, account, region, name, status, desired, applied, host,"
                " address, secrets) VALUES (%s, 'aws', '1', 'r', %s, 'AVAILABLE', %s, %s, 'h', %s, '')",
                (name, name, desired, applied, name),
            )
    assert "0003_tags.sql" in await migrate(url)
    with psycopg.connect(url, row_factory=dict_row) as connection:
        found = connection.execute("SELECT name, desired, applied, tags FROM environments ORDER BY name").fetchall()
    assert found == [
        {"name": "a", "desired": {"X": 1}, "applied": {}, "tags": {"t": "1"}},
        {"name": "b", "desired": {"X": 2}, "applied": None, "tags": {}},
    ]

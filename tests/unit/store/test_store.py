from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from importlib.resources import files

import pytest

from aerodrome.domain.environment import Status
from aerodrome.domain.partitions import PREFIXES, partition_of
from aerodrome.errors import Permanent, Temporary
from aerodrome.store.database import Pool, migrate
from aerodrome.store.environments import AddressTaken, DuplicateName, EnvironmentStore
from aerodrome.store.events import EventStore, NewEvent
from aerodrome.store.sessions import SessionStore
from aerodrome.store.tokens import TokenStore
from aerodrome.store.vault import Vault
from support.signed_in import granted
from support.world import NOW, SECRETS, environment

VAULT = Vault(b"k" * 32)


@pytest.fixture
def store(pool: Pool) -> EnvironmentStore:
    return EnvironmentStore(pool, VAULT)


async def test_a_row_comes_back_as_it_was(store: EnvironmentStore) -> None:
    made = environment()
    await store.insert(made, "127.83.1.1", SECRETS)
    assert await store.get(made.key) == made
    assert await store.by_id(made.id) == made
    assert await store.secrets(made.id) == SECRETS


async def test_secrets_and_sensitive_options_lie_sealed(store: EnvironmentStore, pool: Pool) -> None:
    made = replace(environment(), desired={"AirflowConfigurationOptions": {"smtp.smtp_password": "hunter2"}})
    await store.insert(made, "127.83.1.1", SECRETS)
    async with pool.connection() as connection:
        row = await (await connection.execute("SELECT environments::text AS whole FROM environments")).fetchone()
    assert row is not None
    assert "hunter2" not in row["whole"]
    assert (await store.by_id(made.id)) == made


async def test_another_master_key_opens_nothing(store: EnvironmentStore, pool: Pool) -> None:
    await store.insert(environment(), "127.83.1.1", SECRETS)
    with pytest.raises(Permanent, match="master key"):
        await EnvironmentStore(pool, Vault(b"x" * 32)).secrets(environment().id)


def test_a_sealed_record_does_not_open_elsewhere() -> None:
    sealed = VAULT.seal(b"text", "row-1")
    assert VAULT.open(sealed, "row-1") == b"text"
    with pytest.raises(Permanent):
        VAULT.open(sealed, "row-2")
    with pytest.raises(Permanent):
        VAULT.open(sealed[:-1], "row-1")


async def test_a_name_is_taken_in_its_region_alone(store: EnvironmentStore) -> None:
    await store.insert(environment(), "127.83.1.1", SECRETS)
    with pytest.raises(DuplicateName):
        await store.insert(environment(id_="b" * 12), "127.83.1.2", SECRETS)
    await store.insert(environment(region="us-east-1", id_="c" * 12), "127.83.1.3", SECRETS)
    with pytest.raises(AddressTaken):
        await store.insert(environment(name="other", id_="d" * 12), "127.83.1.3", SECRETS)


async def test_of_two_creates_at_once_one_wins(store: EnvironmentStore) -> None:
    tries = [store.insert(environment(id_=f"{n:012x}"), f"127.83.2.{n}", SECRETS) for n in range(5)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["DuplicateName"] * 4 + ["NoneType"]


async def test_a_write_on_an_old_generation_changes_nothing(store: EnvironmentStore) -> None:
    made = environment()
    await store.insert(made, "127.83.1.1", SECRETS)
    first = await store.update(made, status=Status.DELETING)
    assert first is not None
    assert await store.update(made, status=Status.AVAILABLE) is None
    assert await store.by_id(made.id) == first


async def test_names_are_listed_in_order_and_in_pages(store: EnvironmentStore) -> None:
    for number, name in enumerate(["b", "a", "C", "d"]):
        await store.insert(environment(name, id_=f"{number:012x}"), f"127.83.3.{number}", SECRETS)
    scope = ("aws", "100000000001", "eu-west-1")
    assert await store.list_names(*scope, "", 3) == ["C", "a", "b"]
    assert await store.list_names(*scope, "b", 3) == ["d"]
    assert await store.list_names("aws", "100000000001", "us-east-1", "", 3) == []


async def test_a_web_token_is_used_once_and_in_time(store: EnvironmentStore, pool: Pool) -> None:
    made = environment()
    await store.insert(made, "127.83.1.1", SECRETS)
    tokens = TokenStore(pool)
    for token in ("one", "late"):
        await tokens.add(token, "web", granted(made.id), NOW)
    tries = await asyncio.gather(*(tokens.redeem_web("one", NOW) for _ in range(5)))
    assert [found is not None for found in tries].count(True) == 1
    assert await tokens.redeem_web("late", NOW + timedelta(seconds=61)) is None
    assert await tokens.redeem_web("unknown", NOW) is None
    assert await tokens.check_cli("late", NOW) is None, "a web token is no CLI token"


async def test_a_clock_that_is_set_back_makes_no_token_live_longer(store: EnvironmentStore, pool: Pool) -> None:
    made = environment()
    await store.insert(made, "127.83.1.1", SECRETS)
    tokens, earlier = TokenStore(pool), NOW - timedelta(hours=1)
    await tokens.add("web", "web", granted(made.id), NOW)
    await tokens.add("cli", "cli", granted(made.id), NOW)
    assert await tokens.redeem_web("web", earlier) is None
    assert await tokens.check_cli("cli", earlier) is None
    a_little = NOW - timedelta(seconds=2)  # what a time service does
    assert await tokens.check_cli("cli", a_little) is not None
    assert await tokens.redeem_web("web", a_little) is not None


async def test_deleting_an_environment_ends_its_sessions_and_keeps_its_events(
    store: EnvironmentStore, pool: Pool
) -> None:
    made = environment()
    await store.insert(made, "127.83.1.1", SECRETS)
    sessions, events = SessionStore(pool), EventStore(pool)
    await sessions.open("ab", granted(made.id), NOW, NOW + timedelta(hours=12))
    await events.append(made.id, made.key, "create.requested", "CreateEnvironment", actor="arn", data={"n": 1})
    await store.delete(made.id)
    await store.delete(made.id)
    assert await sessions.find("ab", NOW) is None
    history = await events.after(made.key, 0)
    assert [(event.type, event.data) for event in history] == [("create.requested", {"n": 1})]
    assert await events.after(made.key, history[-1].id) == []


async def test_the_runtime_is_written_with_the_rest(store: EnvironmentStore) -> None:
    made = environment()
    await store.insert(made, "127.83.1.1", SECRETS)
    pinned = await store.update(made, runtime="3.3.1-py3.11-0123456789ab")
    assert pinned is not None
    assert pinned.runtime == "3.3.1-py3.11-0123456789ab"
    assert await store.update(made, runtime="another") is None
    assert await store.by_id(made.id) == pinned


async def test_the_end_is_told_with_the_end_itself(store: EnvironmentStore, pool: Pool) -> None:
    made = environment()
    await store.insert(made, "127.83.1.1", SECRETS)
    for _ in range(2):
        await store.delete(made.id, NewEvent("status.changed", "DELETED"))
    assert [event.message for event in await EventStore(pool).after(made.key, 0)] == ["DELETED"]


@pytest.mark.parametrize("region", ["eu-west-1", *(f"{prefix}east-1" for prefix in PREFIXES)])
async def test_environments_and_their_history_move_to_their_regions_partition(
    store: EnvironmentStore, pool: Pool, region: str
) -> None:
    """What was made while the principal said the partition."""
    made = environment(region=region)
    await store.insert(made, "127.83.1.1", SECRETS, NewEvent("create.requested", "CreateEnvironment"))
    script = files("aerodrome.store").joinpath("migrations/0005_partitions.sql").read_bytes()
    async with pool.connection() as connection:
        await connection.execute(script)
    key = replace(made.key, partition=partition_of(region))
    assert await store.get(key) == replace(made, key=key)
    assert [event.type for event in await EventStore(pool).after(key, 0)] == ["create.requested"]


async def test_migrations_may_run_twice_at_once(database_url: str) -> None:
    assert await asyncio.gather(migrate(database_url), migrate(database_url)) == [[], []]


async def test_a_connection_that_breaks_is_temporary(store: EnvironmentStore, pool: Pool) -> None:
    with pytest.raises(Temporary, match="away"):
        async with store.lease("a"), pool.connection() as other:
            await other.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from aerodrome.domain.environment import Status
from aerodrome.store.database import Pool, open_pool
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.reading import Away, Reader
from aerodrome.store.vault import Vault
from support.world import SECRETS, environment

VAULT = Vault(b"k" * 32)
STATEMENTS = {
    "double": "SELECT $1::int * 2, NULL",
    "count": "SELECT generate_series(1, $1::int)",
    "own_process": "SELECT pg_backend_pid()",
    "transaction": "SELECT pg_current_xact_id(), $1",  # another one each time
}


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[Reader]:
    opened = Reader(database_url, STATEMENTS)
    await opened.open()
    yield opened
    await opened.close()


async def test_many_callers_share_a_connection_and_each_gets_its_own_rows(reader: Reader) -> None:
    answers = await asyncio.gather(*(reader.read("double", str(number)) for number in range(300)))
    assert answers == [[(str(2 * number), None)] for number in range(300)]
    assert await reader.read("count", "3") == [("1",), ("2",), ("3",)]
    assert await reader.read("count", "0") == []


async def test_a_query_that_fails_fails_alone(reader: Reader) -> None:
    answers = await asyncio.gather(
        reader.read("double", "1"), reader.read("double", "x"), reader.read("double", "3"), return_exceptions=True
    )
    assert isinstance(answers[1], Away)
    assert "invalid input" in str(answers[1])
    assert [answers[0], answers[2]] == [[("2", None)], [("6", None)]]


async def test_a_caller_that_gives_up_takes_nobody_elses_answer(reader: Reader) -> None:
    given_up = asyncio.create_task(reader.read("double", "1"))
    await asyncio.sleep(0)
    kept = asyncio.create_task(reader.read("double", "2"))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await kept == [("4", None)]


async def test_text_that_libpq_would_cut_is_not_sent(reader: Reader) -> None:
    with pytest.raises(Away):
        await reader.read("double", "1\0")


async def test_text_that_is_no_text_fails_for_its_caller_alone(reader: Reader) -> None:
    answers = await asyncio.gather(
        *(reader.read("double", text) for text in ("1", "\ud800", "3")), return_exceptions=True
    )
    assert isinstance(answers[1], UnicodeEncodeError)
    assert [answers[0], answers[2]] == [[("2", None)], [("6", None)]]


async def test_a_server_that_is_away_is_told_at_once_and_found_again(reader: Reader, pool: Pool) -> None:
    ((backend,),) = await reader.read("own_process")
    async with pool.connection() as connection:
        await connection.execute("SELECT pg_terminate_backend(%s)", (backend,))
    async with asyncio.timeout(10):
        while True:
            try:
                assert await reader.read("double", "4") == [("8", None)]
                break
            except Away:
                await asyncio.sleep(0.01)


async def test_what_another_process_writes_is_seen_at_once(pool: Pool, database_url: str) -> None:
    store = EnvironmentStore(pool, VAULT)
    made = environment()
    await store.insert(made, "127.83.1.1", SECRETS)
    assert await store.get(made.key) == made
    assert await store.get(made.key) is await store.get(made.key)  # known: not fetched again
    async with open_pool(database_url, size=2) as other_pool:
        other = EnvironmentStore(other_pool, VAULT)
        changed = await other.update(made, status=Status.AVAILABLE)
        assert changed is not None
        assert await store.get(made.key) == changed
        assert await store.list_names("aws", made.key.account, made.key.region, "", 5) == [made.key.name]
        await other.delete(made.id)
        assert await store.get(made.key) is None
        again = replace(made, id="0" * 12)
        await other.insert(again, "127.83.1.1", SECRETS)
        assert await store.get(made.key) == again


async def test_reads_go_through_the_pool_while_the_reader_is_away(pool: Pool) -> None:
    store = EnvironmentStore(pool, VAULT)
    made = environment()
    await store.insert(made, "127.83.1.1", SECRETS)
    await pool.reader.close()
    assert await store.get(made.key) == made
    await pool.reader.close()
    assert await store.list_names("aws", made.key.account, made.key.region, "", 5) == [made.key.name]


async def test_the_same_question_asked_by_many_at_once_is_one_read(reader: Reader) -> None:
    first, *others = await asyncio.gather(*(reader.read("transaction", "a") for _ in range(10)))
    assert first not in others  # was under way before they asked: what it reads may be older than their question
    assert others == [others[0]] * 9
    another, again = await asyncio.gather(reader.read("transaction", "a"), reader.read("transaction", "b"))
    assert len({str(rows) for rows in (first, others[0], another, again)}) == 4

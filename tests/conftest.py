from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from aerodrome.store.database import Pool, migrate, open_pool
from support.postgres import running_postgres


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Superuser URL of a real PostgreSQL, without a database."""
    with running_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def database_url(postgres_url: str) -> str:
    """Our own database, migrated."""
    with psycopg.connect(f"{postgres_url}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE aerodrome_test")
    asyncio.run(migrate(f"{postgres_url}/aerodrome_test"))
    return f"{postgres_url}/aerodrome_test"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool on our own database, empty."""
    async with open_pool(database_url, size=8) as opened:
        async with opened.connection() as connection:
            await connection.execute("TRUNCATE environments, events, tokens, sessions RESTART IDENTITY")
        yield opened

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from aerodrome.store.database import Pool
from support.mwaa import House, open_house


@pytest.fixture
async def house(pool: Pool) -> AsyncIterator[House]:
    async with open_house(pool) as opened:
        yield opened


@pytest.fixture
def nothing_unforeseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing was logged as an error: every refusal was one that we know."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []

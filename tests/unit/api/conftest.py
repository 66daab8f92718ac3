from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aerodrome.store.database import Pool
from support.mwaa import House, open_house


@pytest.fixture
async def house(pool: Pool) -> AsyncIterator[House]:
    async with open_house(pool) as opened:
        yield opened

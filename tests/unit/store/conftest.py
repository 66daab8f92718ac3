from __future__ import annotations

import pytest

from aerodrome.store.database import Pool
from support.identities import Table, empty_table


@pytest.fixture
async def table(pool: Pool) -> Table:
    return await empty_table(pool)

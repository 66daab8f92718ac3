from __future__ import annotations

import pytest

from aerodrome.domain.environment import Environment
from aerodrome.store.database import Pool
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.vault import Vault
from support.world import SECRETS, environment


@pytest.fixture
def store(pool: Pool) -> EnvironmentStore:
    return EnvironmentStore(pool, Vault(b"k" * 32))


@pytest.fixture
async def made(store: EnvironmentStore) -> Environment:
    """An environment that was just asked for."""
    fresh = environment()
    await store.insert(fresh, "127.83.1.1", SECRETS)
    return fresh

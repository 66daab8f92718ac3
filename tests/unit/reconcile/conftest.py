from __future__ import annotations

import pytest

from aerodrome.domain.environment import Environment
from aerodrome.store.database import Pool
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.vault import Vault
from support.reconciling import control_plane, settle
from support.world import SECRETS, World, environment


@pytest.fixture
def store(pool: Pool) -> EnvironmentStore:
    return EnvironmentStore(pool, Vault(b"k" * 32))


@pytest.fixture
async def made(store: EnvironmentStore) -> Environment:
    """An environment that was just asked for."""
    fresh = environment()
    await store.insert(fresh, "127.83.1.1", SECRETS)
    return fresh


@pytest.fixture
async def available(store: EnvironmentStore, made: Environment) -> tuple[World, Environment]:
    world = World()
    await settle(control_plane(store, world), made.id)
    row = await store.by_id(made.id)
    assert row is not None
    return world, row

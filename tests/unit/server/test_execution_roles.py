"""Whose role an environment's components get credentials of, and what its history tells of that."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from aerodrome.domain.environment import Environment
from aerodrome.errors import Temporary
from aerodrome.server.execution_roles import ExecutionRoles
from aerodrome.store.database import Pool
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.events import EventStore
from aerodrome.store.vault import Vault
from support.world import SECRETS, environment

ROLE, OTHER = (f"arn:aws:iam::100000000001:role/{name}" for name in ("one", "two"))
WHY = f"The role {ROLE} doesn't trust airflow.amazonaws.com."


class Place:
    def __init__(self, pool: Pool) -> None:
        self.store, self.events = EnvironmentStore(pool, Vault(b"k" * 32)), EventStore(pool)
        self.start()

    def start(self) -> None:
        self.roles = ExecutionRoles(self.store, self.events)

    async def history(self, of: Environment) -> list[tuple[str, str]]:
        return [(event.type, event.message) for event in await self.events.after(of.key, 0)]


@pytest.fixture
async def place(pool: Pool) -> Place:
    return Place(pool)


@pytest.fixture
async def made(place: Place) -> Environment:
    row = environment(ExecutionRoleArn=ROLE)
    await place.store.insert(row, "127.83.1.1", SECRETS)
    return row


async def test_the_role_and_token_are_those_of_the_row(place: Place, made: Environment) -> None:
    assert await place.roles.holder(made.id) == (ROLE, SECRETS.credentials_token, made.key.arn)
    assert await place.roles.holder("ffffffffffff") is None


async def test_another_role_is_in_force_at_once(place: Place, made: Environment) -> None:
    row = await place.store.by_id(made.id)
    assert row is not None
    assert await place.store.update(row, desired={**row.desired, "ExecutionRoleArn": OTHER}) is not None
    assert (await place.roles.holder(made.id) or ("",))[0] == OTHER


async def test_a_refusal_is_told_once_and_its_end_too(place: Place, made: Environment) -> None:
    await place.roles.tell(made.id, None)
    assert await place.history(made) == []
    await asyncio.gather(*(place.roles.tell(made.id, WHY) for _ in range(5)))
    assert await place.history(made) == [("role.refused", WHY)]
    await place.roles.tell(made.id, "There is no such role.")
    await place.roles.tell(made.id, None)
    await place.roles.tell(made.id, None)
    await place.roles.tell(made.id, WHY)
    told = await place.history(made)
    assert [type_ for type_, _ in told] == ["role.refused", "role.refused", "role.granted", "role.refused"]
    assert ROLE in told[2][1]
    assert all(event.data == {"role": ROLE} for event in await place.events.after(made.key, 0))


async def test_a_new_control_plane_tells_once_more(place: Place, made: Environment) -> None:
    await place.roles.tell(made.id, WHY)
    place.start()
    await place.roles.tell(made.id, WHY)
    assert await place.history(made) == [("role.refused", WHY)] * 2


async def test_what_cannot_be_told_now_is_told_the_next_time(
    place: Place, made: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise Temporary("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(place.events, "append", away)
        await place.roles.tell(made.id, WHY)
    await place.roles.tell(made.id, WHY)
    assert await place.history(made) == [("role.refused", WHY)]


async def test_of_an_environment_that_is_gone_nothing_is_told_or_kept(place: Place, made: Environment) -> None:
    await place.roles.tell("ffffffffffff", WHY)
    assert await place.history(replace(made)) == []
    assert place.roles._refused == {}

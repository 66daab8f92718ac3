"""When a role is assumed again, and who shares the answer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from aerodrome.content.credentials import RoleCredentials
from aerodrome.domain.principal import Credentials
from aerodrome.errors import Temporary

START = datetime(2026, 1, 1, tzinfo=UTC)
ROLE = "arn:aws:iam::100000000001:role/r"


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


class Roles:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.calls = 0
        self.away = False

    async def assume_role(
        self, role_arn: str, session_name: str, duration: int = 3600, *, source_arn: str | None = None
    ) -> Credentials:
        await asyncio.sleep(0)
        if self.away:
            raise Temporary("away")
        self.calls += 1
        expires = self.clock.now + timedelta(seconds=duration)
        return Credentials(f"{session_name}-{self.calls}", "secret", "token", expires)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def roles(clock: Clock) -> Roles:
    return Roles(clock)


@pytest.fixture
def credentials(roles: Roles, clock: Clock) -> RoleCredentials:
    return RoleCredentials(roles, clock)


async def test_asked_at_once_by_many_it_assumes_once(credentials: RoleCredentials, roles: Roles) -> None:
    answers = await asyncio.gather(*(credentials.get(ROLE, "one") for _ in range(10)))
    assert roles.calls == 1
    assert len(set(map(id, answers))) == 1


async def test_every_session_has_its_own(credentials: RoleCredentials, roles: Roles) -> None:
    await credentials.get(ROLE, "one")
    await credentials.get(ROLE, "two")
    assert roles.calls == 2


@pytest.mark.parametrize(("minutes", "margin", "calls"), [(54, 5, 1), (55, 5, 2), (39, 20, 1), (40, 20, 2)])
async def test_they_are_renewed_before_they_run_out(
    credentials: RoleCredentials, roles: Roles, clock: Clock, minutes: int, margin: int, calls: int
) -> None:
    await credentials.get(ROLE, "one")
    clock.now += timedelta(minutes=minutes)
    await credentials.get(ROLE, "one", timedelta(minutes=margin))
    assert roles.calls == calls


async def test_while_the_source_is_away_living_ones_go_on(
    credentials: RoleCredentials, roles: Roles, clock: Clock
) -> None:
    first = await credentials.get(ROLE, "one")
    roles.away = True
    clock.now += timedelta(minutes=58)
    assert await credentials.get(ROLE, "one") is first
    clock.now += timedelta(minutes=2)
    with pytest.raises(Temporary):
        await credentials.get(ROLE, "one")


async def test_refused_ones_are_asked_for_again(credentials: RoleCredentials, roles: Roles) -> None:
    await credentials.get(ROLE, "one")
    credentials.forget(ROLE, "one")
    await credentials.get(ROLE, "one")
    assert roles.calls == 2

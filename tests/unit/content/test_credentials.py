"""When a role is assumed again, and who shares the answer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from aerodrome.content.credentials import RoleCredentials
from aerodrome.domain.principal import Credentials, ExecutionRole
from aerodrome.errors import Permanent, Temporary

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
        self.confirmed: list[str | None] = []  # source ARNs
        self.away = self.untrusting = False
        self.role_id = "AROA1"

    async def confirm(self, role_arn: str, *, source_arn: str | None = None) -> ExecutionRole:
        await asyncio.sleep(0)
        if self.away:
            raise Temporary("away")
        if self.untrusting:
            raise Permanent("doesn't trust")
        self.confirmed.append(source_arn)
        return ExecutionRole(self.role_id, None)

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


async def test_a_role_whose_trust_is_taken_away_gives_no_more_within_a_second(
    credentials: RoleCredentials, roles: Roles, clock: Clock
) -> None:
    await credentials.get(ROLE, "one")
    roles.untrusting = True
    clock.now += timedelta(seconds=1)
    with pytest.raises(Permanent, match="doesn't trust"):
        await credentials.get(ROLE, "one")
    roles.away = True  # what was known is not handed out again by a fault either
    with pytest.raises(Temporary):
        await credentials.get(ROLE, "one")
    roles.untrusting = roles.away = False
    assert (await credentials.get(ROLE, "one")).access_key_id == "one-2"


async def test_a_role_that_was_made_anew_is_assumed_anew(
    credentials: RoleCredentials, roles: Roles, clock: Clock
) -> None:
    await credentials.get(ROLE, "one")
    roles.role_id = "AROA2"
    clock.now += timedelta(seconds=2)
    await credentials.get(ROLE, "one")
    assert roles.calls == 2


async def test_trust_is_asked_once_a_second_however_many_ask_us(
    credentials: RoleCredentials, roles: Roles, clock: Clock
) -> None:
    for _ in range(3):
        await asyncio.gather(*(credentials.get(ROLE, "one", source_arn="arn:e") for _ in range(20)))
    assert roles.confirmed == ["arn:e"]
    clock.now += timedelta(seconds=1)
    await credentials.get(ROLE, "one", source_arn="arn:e")
    assert roles.confirmed == ["arn:e"] * 2
    clock.now -= timedelta(hours=2)  # a clock that is set back must not end the asking
    await credentials.get(ROLE, "one", source_arn="arn:e")
    assert len(roles.confirmed) == 3


async def test_a_source_that_hangs_is_waited_for_once(credentials: RoleCredentials, roles: Roles, clock: Clock) -> None:
    first = await credentials.get(ROLE, "one")
    roles.away = True
    clock.now += timedelta(minutes=1)
    assert await credentials.get(ROLE, "one") is first
    roles.away, roles.confirmed = False, []
    assert await credentials.get(ROLE, "one") is first
    assert roles.confirmed == []

"""From CreateWebLoginToken to the end of the session: every way in which that end can come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aerodrome.domain.environment import Status
from aerodrome.domain.principal import Principal, PrincipalReference
from aerodrome.errors import Temporary
from aerodrome.gateway.identity import credential_hash
from aerodrome.identity.standing import Standing
from aerodrome.server.reception import Reception
from aerodrome.store.database import Pool
from support.mwaa import ACCOUNT, House, open_house

ROLE = f"arn:aws:airflow:eu-west-1:{ACCOUNT}:role/demo/Viewer"
ENVIRONMENT = f"arn:aws:airflow:eu-west-1:{ACCOUNT}:environment/demo"


class Clock:
    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Desk:
    """The API, the gateway's tokens and sessions, and ann, a Viewer of the environment demo."""

    def __init__(self, house: House, clock: Clock) -> None:
        self.house, self.clock = house, clock
        self.away = False
        context = house.context
        standing = Standing(self, clock)
        self.reception = Reception(context.store, context.tokens, context.signed_in, standing, context.sessions, clock)
        self.allow("airflow:CreateWebLoginToken", ROLE)

    def allow(self, action: str, resource: str) -> None:
        """All that ann may."""
        self.house.account.policies["ann"] = [{"Effect": "Allow", "Action": action, "Resource": resource}]

    async def resolve(self, key_id: str, session_token: str | None) -> Any:
        raise NotImplementedError

    async def principal_of(self, reference: PrincipalReference) -> Principal | None:
        if self.away:
            raise Temporary("away")
        return await self.house.account.principal_of(reference)

    async def token(self) -> str:
        return str((await self.house.call("create_web_login_token", "ann", Name="demo"))["WebToken"])

    async def sign_in(self, cookie: str = "cookie") -> str:
        redeemed = await self.reception.redeem_web_token(await self.token())
        assert redeemed is not None
        assert (redeemed.user, redeemed.roles) == ("user/ann", ("Viewer",))
        hashed = credential_hash(cookie)
        assert await self.reception.open_session(hashed, redeemed, self.clock() + timedelta(hours=12))
        return hashed


@pytest.fixture
async def desk(pool: Pool) -> AsyncIterator[Desk]:
    clock = Clock()
    async with open_house(pool, now=clock) as house:
        await house.create("demo")
        await house.become("demo", Status.AVAILABLE)
        yield Desk(house, clock)


async def test_who_signs_in_is_signed_in(desk: Desk) -> None:
    hashed = await desk.sign_in()
    for _ in range(2):
        session = await desk.reception.session(hashed)
        assert session is not None
        assert session.principal.iam_identity == "user/ann"


def gone(desk: Desk) -> None:
    del desk.house.account.policies["ann"]


def demoted(desk: Desk) -> None:
    desk.allow("airflow:CreateWebLoginToken", ROLE.replace("Viewer", "Public"))


def without_permission(desk: Desk) -> None:
    desk.allow("airflow:InvokeRestApi", ROLE)


def late(desk: Desk) -> None:
    desk.clock.ahead += timedelta(hours=12)


@pytest.mark.parametrize("happens", [gone, demoted, without_permission, late])
async def test_it_ends_at_the_next_request(desk: Desk, happens: Callable[[Desk], None]) -> None:
    hashed = await desk.sign_in()
    happens(desk)
    assert await desk.reception.session(hashed) is None


async def test_what_ended_stays_ended_when_the_permission_comes_back(desk: Desk) -> None:
    hashed = await desk.sign_in()
    without_permission(desk)
    assert await desk.reception.session(hashed) is None
    desk.allow("airflow:CreateWebLoginToken", ROLE)
    assert await desk.reception.session(hashed) is None


async def test_it_ends_with_the_request_to_delete_the_environment(desk: Desk) -> None:
    hashed, token = await desk.sign_in(), await desk.token()
    await desk.house.call("delete_environment", Name="demo")
    assert await desk.reception.session(hashed) is None
    assert await desk.reception.redeem_web_token(token) is None


async def test_it_ends_by_command(desk: Desk) -> None:
    hashed = await desk.sign_in()
    assert await desk.house.own("POST", "sessions/revoke", User="ann") == (200, {"Revoked": 1})
    assert await desk.reception.session(hashed) is None


async def test_it_ends_when_its_user_leaves(desk: Desk) -> None:
    hashed = await desk.sign_in()
    session = await desk.reception.session(hashed)
    assert session is not None
    await desk.reception.follow_session(credential_hash("rotated"), session.id)
    await desk.reception.end_session(session.id)
    for cookie in ("cookie", "rotated"):
        assert await desk.reception.session(credential_hash(cookie)) is None


@pytest.mark.parametrize("happens", [gone, demoted, without_permission])
async def test_a_token_is_worth_nothing_once_its_owner_may_not(desk: Desk, happens: Callable[[Desk], None]) -> None:
    token = await desk.token()
    happens(desk)
    assert await desk.reception.redeem_web_token(token) is None


async def test_a_web_token_lasts_sixty_seconds_and_once(desk: Desk) -> None:
    used, early, late_ = [await desk.token() for _ in range(3)]
    assert await desk.reception.redeem_web_token(used) is not None
    assert await desk.reception.redeem_web_token(used) is None
    desk.clock.ahead += timedelta(seconds=58)
    assert await desk.reception.redeem_web_token(early) is not None
    desk.clock.ahead += timedelta(seconds=3)
    assert await desk.reception.redeem_web_token(late_) is None


async def test_a_cli_token_lasts_as_long_as_its_owner_may(desk: Desk) -> None:
    desk.allow("airflow:CreateCliToken", ENVIRONMENT)
    token = (await desk.house.call("create_cli_token", "ann", Name="demo"))["CliToken"]
    for _ in range(2):
        assert await desk.reception.check_cli_token(token) is not None
    assert await desk.reception.redeem_web_token(token) is None
    without_permission(desk)
    assert await desk.reception.check_cli_token(token) is None
    desk.allow("airflow:CreateCliToken", ENVIRONMENT)
    desk.clock.ahead += timedelta(seconds=61)
    assert await desk.reception.check_cli_token(token) is None


async def test_while_the_embedded_cloud_restarts_who_is_in_stays_and_nobody_comes(desk: Desk) -> None:
    hashed, token = await desk.sign_in(), await desk.token()
    assert await desk.reception.session(hashed) is not None
    desk.away = True
    assert await desk.reception.session(hashed) is not None
    with pytest.raises(Temporary):
        await desk.reception.redeem_web_token(token)


async def test_when_it_was_last_used_is_noted_once_a_minute(desk: Desk) -> None:
    hashed = await desk.sign_in()

    async def seen() -> datetime:
        (found,) = await desk.house.context.signed_in.all(desk.clock())
        return found.seen

    first = await seen()
    await desk.reception.session(hashed)
    assert await seen() == first
    desk.clock.ahead += timedelta(seconds=61)
    await desk.reception.session(hashed)
    assert await seen() - first >= timedelta(seconds=61)


async def test_a_control_plane_that_starts_again_knows_who_is_in_and_who_is_not(desk: Desk) -> None:
    """Nothing of it lies in the process: `kill -9` signs nobody out, and lets nobody back in."""
    stays, left = await desk.sign_in("stays"), await desk.sign_in("left")
    session = await desk.reception.session(left)
    assert session is not None
    await desk.reception.end_session(session.id)
    token = await desk.token()
    again = Desk(desk.house, desk.clock).reception
    assert await again.session(stays) is not None
    assert await again.session(left) is None
    assert await again.redeem_web_token(token) is not None
    assert await desk.reception.redeem_web_token(token) is None

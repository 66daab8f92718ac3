"""People of an identity provider at the reception: who gets in, as whom, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aerodrome.domain.environment import Fallback, Status
from aerodrome.domain.sign_in import People, Person, RoleMapping
from aerodrome.domain.web_server import Side
from aerodrome.gateway.identity import credential_hash
from aerodrome.identity.standing import Standing
from aerodrome.server.door import Door
from aerodrome.server.reception import Reception
from aerodrome.store.database import Pool
from support.mwaa import House, open_house

ISSUER = "https://id.example.com/staff"
CENTER = {"StartUrl": ISSUER + "/", "IdentityStoreId": "d-0123456789"}
MAPPINGS = (RoleMapping("data-eng", "User", ("de*",)), RoleMapping("readers", "Viewer"))
ANN = Person(ISSUER, "5ub", "Ann", frozenset({"data-eng", "football"}))


def now() -> datetime:
    return datetime.now(UTC)


def reception(house: House, people: People | None) -> Reception:
    context = house.context
    standing = Standing(house.account, now, people=people)
    return Reception(context.store, context.tokens, context.signed_in, standing, context.sessions, now, people)


@pytest.fixture
async def house(pool: Pool) -> AsyncIterator[House]:
    async with open_house(pool, issuer=ISSUER) as house:
        await house.create("demo", IdentityCenterConfiguration=CENTER)
        await house.create("other")
        for name in ("demo", "other"):
            await house.become(name, Status.AVAILABLE)
        yield house


@pytest.fixture
def desk(house: House) -> Reception:
    return reception(house, People(ISSUER, MAPPINGS))


async def id_of(house: House, name: str = "demo") -> str:
    (found,) = [each for each in await house.store.all() if each.key.name == name]
    return found.id


async def sign_in(house: House, desk: Reception, person: Person = ANN) -> str:
    redeemed = await desk.admit_person(await id_of(house), person, "192.0.2.1")
    assert redeemed is not None
    assert await desk.open_session(credential_hash("cookie"), redeemed, now() + timedelta(hours=12))
    return credential_hash("cookie")


async def test_a_person_has_the_roles_of_their_groups_and_a_name_of_their_own(house: House, desk: Reception) -> None:
    redeemed = await desk.admit_person(await id_of(house), ANN, "192.0.2.1")
    assert redeemed is not None
    assert (redeemed.user, redeemed.iam_identity, redeemed.roles) == ("oidc/ann", "oidc/Ann", ("User",))


async def test_the_session_says_where_it_came_from_and_is_listed(house: House, desk: Reception) -> None:
    session = await desk.session(await sign_in(house, desk))
    assert session is not None
    assert (session.issuer, session.principal.user) == (ISSUER, "oidc/ann")
    _, listed = await house.own("GET", "sessions")
    (shown,) = listed["Sessions"]
    assert (shown["IdentityProvider"], shown["AccessKeyId"], shown["SourceIp"]) == (ISSUER, None, "192.0.2.1")
    (stored,) = await house.context.signed_in.all(now())
    assert stored.grant.reference == {"issuer": ISSUER, "subject": "5ub", "groups": ["data-eng"]}


async def test_who_is_in_no_group_that_counts_does_not_get_in(house: House, desk: Reception) -> None:
    for groups in (set(), {"football"}, {"Data-Eng"}):
        assert await desk.admit_person(await id_of(house), Person(ISSUER, "s", "ann", frozenset(groups)), "-") is None


async def test_environments_that_take_no_part_let_nobody_in(house: House, desk: Reception) -> None:
    person = Person(ISSUER, "s", "ben", frozenset({"readers"}))
    assert await desk.admit_person(await id_of(house, "other"), person, "-") is None
    assert await desk.admit_person("no such environment", person, "-") is None
    assert await reception(house, None).admit_person(await id_of(house), person, "-") is None


async def test_nobody_gets_in_while_the_environment_is_being_deleted(house: House, desk: Reception) -> None:
    await house.call("delete_environment", Name="demo")
    assert await desk.admit_person(await id_of(house), ANN, "-") is None


@pytest.mark.parametrize(
    "people",
    [
        None,
        People("https://other.example.com", MAPPINGS),
        People(ISSUER, MAPPINGS[1:]),
        People(ISSUER, (RoleMapping("data-eng", "Viewer"),)),
        People(ISSUER, (RoleMapping("data-eng", "User", ("other",)),)),
    ],
    ids=["no provider", "another provider", "the group is gone", "another role", "another environment"],
)
async def test_a_session_ends_with_what_it_was_opened_by(house: House, desk: Reception, people: Any) -> None:
    hashed = await sign_in(house, desk)
    assert await reception(house, people).session(hashed) is None
    assert await desk.session(hashed) is None  # for good


async def test_a_session_ends_by_command(house: House, desk: Reception) -> None:
    hashed = await sign_in(house, desk)
    assert await house.own("POST", "sessions/revoke", User="oidc/ann") == (200, {"Revoked": 1})
    assert await desk.session(hashed) is None


async def test_who_is_revoked_while_airflow_signs_them_in_stays_out(house: House, desk: Reception) -> None:
    redeemed = await desk.admit_person(await id_of(house), ANN, "192.0.2.1")
    assert redeemed is not None
    await house.own("POST", "sessions/revoke", User="oidc/Ann")
    assert not await desk.open_session(credential_hash("cookie"), redeemed, now() + timedelta(hours=12))


async def test_a_session_ends_with_the_environment(house: House, desk: Reception) -> None:
    hashed = await sign_in(house, desk)
    await house.call("delete_environment", Name="demo")
    assert await desk.session(hashed) is None


async def test_keys_of_iam_are_not_asked_about_people(house: House, desk: Reception) -> None:
    hashed = await sign_in(house, desk)
    house.account.policies.clear()
    assert await desk.session(hashed) is not None


async def test_iam_goes_on_beside_it(house: House, desk: Reception) -> None:
    """Without any provider's say."""
    token = (await house.call("create_web_login_token", Name="demo"))["WebToken"]
    redeemed = await desk.redeem_web_token(token)
    assert redeemed is not None
    assert redeemed.user == "user/admin"
    assert await desk.open_session(credential_hash("c"), redeemed, now() + timedelta(hours=12))
    session = await reception(house, None).session(credential_hash("c"))
    assert session is not None
    assert session.issuer is None


async def test_the_gateway_offers_it_where_it_is_in_force(house: House) -> None:
    """An update that may yet be undone doesn't count."""
    none: Any = None
    door = Door(none, none, none, by_address=False, issuer=ISSUER)
    (demo,) = [each for each in await house.store.all() if each.key.name == "demo"]
    assert door.route(demo, Side.PUBLIC, "127.0.0.1", ()).issuer == ISSUER
    without = {name: value for name, value in demo.desired.items() if name != "IdentityCenterConfiguration"}
    updating = replace(demo, desired=without, applied=demo.desired, fallback=Fallback(None, 0))
    assert door.route(updating, Side.PUBLIC, "127.0.0.1", ()).issuer == ISSUER
    assert door.route(replace(updating, fallback=None), Side.PUBLIC, "127.0.0.1", ()).issuer is None
    assert Door(none, none, none, by_address=False).route(demo, Side.PUBLIC, "127.0.0.1", ()).issuer is None

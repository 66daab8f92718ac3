"""Who is signed in, and ending that: the calls behind `aerodrome sessions`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.mwaa import House
from support.signed_in import granted

NOW = datetime.now(UTC)


async def sign_in(house: House, cookie: str, name: str = "demo", region: str = "eu-west-1", **who: Any) -> str:
    (row,) = [each for each in await house.store.all() if (each.key.name, each.key.region) == (name, region)]
    made = await house.context.signed_in.open(cookie, granted(row.id, **who), NOW, NOW + timedelta(hours=12))
    assert made is not None
    return made


@pytest.fixture
async def people(house: House) -> dict[str, str]:
    """Cookie -> session id: ann in demo of two regions and in other, ben in demo."""
    await house.create("demo")
    await house.create("other")
    await house.create("demo", region="us-east-1")
    return {
        "ann-demo": await sign_in(house, "ann-demo", user="user/ann"),
        "ann-other": await sign_in(house, "ann-other", "other", user="user/ann"),
        "ann-east": await sign_in(house, "ann-east", "demo", "us-east-1", user="user/ann"),
        "ben-demo": await sign_in(house, "ben-demo", user="user/ben"),
    }


async def standing(house: House, people: dict[str, str]) -> set[str]:
    return {cookie for cookie in people if await house.context.signed_in.find(cookie, NOW)}


async def listed(house: House, query: str = "", key: str = "admin") -> set[str]:
    status, answer = await house.own("GET", f"sessions{query}", key)
    assert status == 200, answer
    return {session["Id"] for session in answer["Sessions"]}


async def test_they_are_listed_with_all_that_one_wants_to_know(house: House, people: dict[str, str]) -> None:
    _, answer = await house.own("GET", "sessions?environment=demo&region=us-east-1")
    assert answer["Sessions"] == [
        {
            "Id": people["ann-east"],
            "Environment": "demo",
            "Region": "us-east-1",
            "AirflowIdentity": "user/ann",
            "IamIdentity": "user/ann",
            "AccessKeyId": "AKIA1",
            "IdentityProvider": None,
            "Roles": ["Admin"],
            "SourceIp": "127.0.0.1",
            "CreatedAt": pytest.approx(NOW.timestamp(), abs=1e-3),
            "ExpiresAt": pytest.approx(NOW.timestamp() + 12 * 3600, abs=1e-3),
            "LastSeenAt": pytest.approx(NOW.timestamp(), abs=1e-3),
        }
    ]
    assert await listed(house) == set(people.values())
    assert await listed(house, "?environment=other") == {people["ann-other"]}


@pytest.mark.parametrize(
    ("choice", "gone"),
    [
        ({"User": "ann"}, {"ann-demo", "ann-other", "ann-east"}),
        ({"User": "user/ben"}, {"ben-demo"}),
        ({"Environment": "demo"}, {"ann-demo", "ann-east", "ben-demo"}),
        ({"Environment": "demo", "Region": "us-east-1"}, {"ann-east"}),
        ({"All": True}, {"ann-demo", "ann-other", "ann-east", "ben-demo"}),
        ({"User": "nobody"}, set()),
    ],
)
async def test_what_is_revoked_ends_at_once_and_nothing_else(
    house: House, people: dict[str, str], choice: dict[str, Any], gone: set[str]
) -> None:
    assert await house.own("POST", "sessions/revoke", **choice) == (200, {"Revoked": len(gone)})
    assert await standing(house, people) == people.keys() - gone
    assert await house.own("POST", "sessions/revoke", **choice) == (200, {"Revoked": 0})


async def test_one_session_by_its_id(house: House, people: dict[str, str]) -> None:
    assert await house.own("POST", "sessions/revoke", Id=people["ben-demo"]) == (200, {"Revoked": 1})
    assert await standing(house, people) == people.keys() - {"ben-demo"}
    status, answer = await house.own("POST", "sessions/revoke", Id=people["ben-demo"])
    assert (status, answer["message"]) == (
        404, "There is no such session; it may have ended. `aerodrome sessions list` shows all."
    )  # fmt: skip


async def test_it_is_told_in_the_history_of_each_environment(house: House, people: dict[str, str]) -> None:
    await house.own("POST", "sessions/revoke", User="ann")
    _, answer = await house.own("GET", "environments/demo/events")
    (event,) = [event for event in answer["Events"] if event["Type"] == "sessions.revoked"]
    assert event["Message"] == "1 of user/ann"
    assert event["Data"] == {"sessions": [people["ann-demo"]]}
    assert event["Actor"].endswith(":user/admin")


async def test_tokens_that_could_open_new_ones_are_gone_too(house: House, people: dict[str, str]) -> None:
    await house.become("demo", (await house.store.all())[0].status.AVAILABLE)
    tokens = [(await house.call("create_web_login_token", Name="demo"))["WebToken"] for _ in range(2)]
    await house.own("POST", "sessions/revoke", User="ann")
    assert await house.context.tokens.redeem_web(tokens[0], datetime.now(UTC)) is not None
    await house.own("POST", "sessions/revoke", User="admin")
    assert await house.context.tokens.redeem_web(tokens[1], datetime.now(UTC)) is None


def allow(house: House, key: str, action: str, resource: str) -> None:
    house.account.policies[key] = [{"Effect": "Allow", "Action": action, "Resource": resource}]


async def test_who_may_not_sees_and_ends_nothing(house: House, people: dict[str, str]) -> None:
    allow(house, "nosy", "airflow:*", "*")
    assert await listed(house, key="nosy") == set()
    assert await house.own("POST", "sessions/revoke", key="nosy", All=True) == (200, {"Revoked": 0})
    status, _ = await house.own("POST", "sessions/revoke", key="nosy", Id=people["ben-demo"])
    assert status == 404
    assert await standing(house, people) == set(people)


async def test_who_may_for_one_environment_reaches_no_other(house: House, people: dict[str, str]) -> None:
    (demo,) = [each for each in await house.store.all() if (each.key.name, each.key.region) == ("demo", "eu-west-1")]
    allow(house, "some", "aerodrome:*", demo.key.arn)
    assert await listed(house, key="some") == {people["ann-demo"], people["ben-demo"]}
    assert await house.own("POST", "sessions/revoke", key="some", All=True) == (200, {"Revoked": 2})
    assert await standing(house, people) == {"ann-other", "ann-east"}


async def test_another_account_sees_nothing(house: House, people: dict[str, str]) -> None:
    allow(house, "else", "*", "*")
    house.account.places["else"] = ("aws", "200000000002")
    assert await listed(house, key="else") == set()
    assert await house.own("POST", "sessions/revoke", key="else", All=True) == (200, {"Revoked": 0})


@pytest.mark.parametrize(
    "body",
    [{}, {"All": False}, {"All": "true"}, {"User": ""}, {"User": "a", "All": True}, {"Id": 7}, {"Region": "eu-west-1"}],
)
async def test_another_body_revokes_nothing(house: House, people: dict[str, str], body: dict[str, Any]) -> None:
    status, answer = await house.own("POST", "sessions/revoke", **body)
    assert status == 400
    assert answer["message"].startswith("The body must be one of")
    assert await standing(house, people) == set(people)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "sessions"), ("GET", "sessions/revoke"), ("DELETE", "sessions"), ("GET", "sessions/x")],
)
async def test_other_calls_there_are_not(house: House, method: str, path: str) -> None:
    assert (await house.own(method, path))[0] == 404

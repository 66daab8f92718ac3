"""Who is signed in stays so only as long as the key, the user and the permission are there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.principal import AccessKey, Principal, PrincipalReference
from aerodrome.errors import Temporary
from aerodrome.identity.standing import GRACE, Standing
from support.signed_in import granted, referred

KEY = EnvironmentKey("aws", "100000000001", "eu-west-1", "demo")
NINE = datetime(2026, 1, 1, 9, tzinfo=UTC)


class Source:
    """One user, whose policies a test changes."""

    def __init__(self) -> None:
        self.statements: list[dict[str, Any]] = []
        self.allow("airflow:CreateWebLoginToken", KEY.role_arn("Admin"))
        self.there = True
        self.away = False

    def allow(self, action: str, resource: str, **more: Any) -> None:
        self.statements = [{"Effect": "Allow", "Action": action, "Resource": resource, **more}]

    async def resolve(self, key_id: str, session_token: str | None) -> AccessKey | None:
        raise NotImplementedError

    async def principal_of(self, reference: PrincipalReference) -> Principal | None:
        if self.away:
            raise Temporary("away")
        policy = {"Version": "2012-10-17", "Statement": self.statements}
        arn, account = reference.arn, "100000000001"
        principal = Principal(arn, account, "aws", reference.user_id, (policy,), reference=reference)
        return principal if self.there and reference == referred() else None


class Clock:
    def __init__(self) -> None:
        self.now, self.ticks = NINE, 0.0

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def standing(source: Source, clock: Clock) -> Standing:
    return Standing(source, clock, clock=lambda: clock.ticks)


WEB = "CreateWebLoginToken"
ADMIN = granted("aaa", "Admin")


async def lost(standing: Standing, **changes: Any) -> str | None:
    return await standing.lost(replace(ADMIN, **changes), WEB, KEY, {}, known="s1")


async def test_it_stands(standing: Standing) -> None:
    assert await lost(standing) is None


async def test_a_key_or_user_that_is_gone_ends_it(standing: Standing, source: Source) -> None:
    source.there = False
    assert await lost(standing) == "the access key, user or role is gone"


async def test_another_key_is_nobody(standing: Standing) -> None:
    assert await lost(standing, reference=referred("AKIA2").to_json()) is not None


@pytest.mark.parametrize("reference", [{}, {"access_key_id": "AKIA1"}, {**referred().to_json(), "more": 1}])
async def test_a_reference_that_nobody_can_read_is_nobody(standing: Standing, reference: dict[str, Any]) -> None:
    assert await lost(standing, reference=reference) is not None


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("airflow:InvokeRestApi", KEY.role_arn("Admin")),
        (f"airflow:{WEB}", KEY.role_arn("Viewer")),
        (f"airflow:{WEB}", KEY.arn),
        (f"airflow:{WEB}", replace(KEY, region="us-east-1").role_arn("Admin")),
        (f"airflow:{WEB}", replace(KEY, name="other").role_arn("Admin")),
    ],
)
async def test_a_permission_that_is_gone_ends_it(
    standing: Standing, source: Source, action: str, resource: str
) -> None:
    source.allow(action, resource)
    assert await lost(standing) == "airflow:CreateWebLoginToken is not allowed any more with the Airflow role Admin"


async def test_an_explicit_deny_ends_it(standing: Standing, source: Source) -> None:
    source.statements.append({"Effect": "Deny", "Action": "airflow:*", "Resource": "*"})
    assert await lost(standing) is not None


async def test_one_role_of_several_that_is_gone_ends_it(standing: Standing) -> None:
    assert await lost(standing, roles=("Admin", "Op")) is not None


async def test_more_than_was_asked_for_is_no_matter(standing: Standing, source: Source) -> None:
    source.allow(f"airflow:{WEB}", "*")
    assert await lost(standing) is None


async def test_conditions_are_asked_of_the_first_call_but_of_now(
    standing: Standing, source: Source, clock: Clock
) -> None:
    until_ten = {"DateLessThan": {"aws:CurrentTime": "2026-01-01T10:00:00Z"}}
    source.allow(
        f"airflow:{WEB}", KEY.role_arn("Admin"), Condition={"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}, **until_ten}
    )
    assert await lost(standing) is None
    assert await lost(standing, source_ip="10.0.0.1") is not None
    clock.now += timedelta(hours=2)
    assert await lost(standing) is not None


async def test_the_environments_tags_are_those_of_now(standing: Standing, source: Source) -> None:
    condition = {"StringEquals": {"aws:ResourceTag/team": "blue"}}
    source.allow(f"airflow:{WEB}", "*", Condition=condition)
    assert await standing.lost(ADMIN, WEB, KEY, {"team": "blue"}) is None
    assert await standing.lost(ADMIN, WEB, KEY, {"team": "red"}) is not None


async def test_a_cli_token_needs_its_own_permission(standing: Standing, source: Source) -> None:
    cli = replace(ADMIN, roles=())
    assert await standing.lost(cli, "CreateCliToken", KEY, {}) == "airflow:CreateCliToken is not allowed any more"
    source.allow("airflow:CreateCliToken", KEY.arn)
    assert await standing.lost(cli, "CreateCliToken", KEY, {}) is None


async def test_while_the_source_is_away_a_yes_is_good_for_a_minute(
    standing: Standing, source: Source, clock: Clock
) -> None:
    assert await lost(standing) is None
    source.away = True
    clock.ticks += GRACE - 1
    assert await lost(standing) is None
    clock.ticks += 1
    with pytest.raises(Temporary):
        await lost(standing)


async def test_while_the_source_is_away_nobody_new_comes_in_and_a_no_stays_one(
    standing: Standing, source: Source
) -> None:
    assert await lost(standing) is None
    source.there = False
    assert await lost(standing) is not None
    source.away = True
    with pytest.raises(Temporary):
        await lost(standing)
    with pytest.raises(Temporary):
        await standing.lost(ADMIN, WEB, KEY, {})

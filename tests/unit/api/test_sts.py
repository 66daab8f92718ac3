"""STS for the keys of our own table, asked by boto3: who am I, and who may become which role."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from starlette.applications import Starlette

from aerodrome.api.app import FrontDoor
from aerodrome.api.call import Call
from aerodrome.api.sts import Sts
from aerodrome.domain.iam import Kind, Who
from aerodrome.store.database import Pool
from aerodrome.wire import Reply
from support.asgi import serving
from support.identities import ACCOUNT, Table, empty_table, policy, trust
from support.mwaa import made_wire

ROLE = f"arn:aws:iam::{ACCOUNT}:role/etl"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"
USER, ETL = Who(Kind.USER, "alice"), Who(Kind.ROLE, "etl")
MAY = policy("sts:AssumeRole")


@dataclass
class Key:
    id: str
    secret: str
    token: str | None = None


@dataclass
class Front:
    url: str
    table: Table
    alice: Key

    def client(self, key: Key, region: str = "eu-west-1") -> Any:
        return boto3.client(
            "sts",
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=key.id,
            aws_secret_access_key=key.secret,
            aws_session_token=key.token,
            config=Config(parameter_validation=False, retries={"total_max_attempts": 1}),
        )

    async def who(self, key: Key | None = None, region: str = "eu-west-1") -> Any:
        return await asyncio.to_thread(self.client(key or self.alice, region).get_caller_identity)

    async def assume(self, key: Key | None = None, arn: str = ROLE, region: str = "eu-west-1", **given: Any) -> Key:
        asked = {"RoleArn": arn, "RoleSessionName": "night", **given}
        answer = await asyncio.to_thread(self.client(key or self.alice, region).assume_role, **asked)
        made = answer["Credentials"]
        return Key(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])

    async def refused(self, awaited: Any) -> str:
        with pytest.raises((ClientError, ResponseParserError)) as caught:
            await awaited
        if isinstance(caught.value, ResponseParserError):  # what the front door says itself is no XML
            return str(caught.value)
        return f"{caught.value.response['Error']['Code']}: {caught.value.response['Error']['Message']}"


@pytest.fixture
async def front(pool: Pool) -> AsyncIterator[Front]:
    """Alice has a key, and there is the role etl, which trusts the account."""
    table = await empty_table(pool)

    async def mwaa(_: Call) -> Reply:
        return Reply(500)

    sts = Sts(table.principals, table.keys, lambda: datetime.now(UTC), ACCOUNT)
    door = FrontDoor(
        own=Starlette(), mwaa=mwaa, history=mwaa, wire=made_wire(2048), cloud=None, healthy=lambda: True, sts=sts
    )
    await table.identities.create(USER)
    await table.identities.create(ETL, trust=trust())
    await table.policies.put_inline(ETL, "p", policy("airflow:*"))
    key = await table.keys.create("alice")
    async with serving(door) as url:
        yield Front(url, table, Key(key.id, key.secret))


async def test_who_calls(front: Front) -> None:
    found = await front.who()
    assert (found["Arn"], found["Account"]) == (ALICE, ACCOUNT)
    assert found["UserId"].startswith("AIDA")
    assert (await front.who(region="cn-north-1"))["Arn"] == ALICE.replace("arn:aws:", "arn:aws-cn:")
    assert (await front.refused(front.who(Key(front.alice.id, "wrong")))).startswith("SignatureDoesNotMatch")
    await front.table.keys.set_active(front.alice.id, active=False)
    assert (await front.refused(front.who())).startswith("InvalidClientTokenId")


async def test_keys_that_are_not_the_tables_are_the_clouds_affair(front: Front) -> None:
    """There is none here: its absence shows who was asked."""
    assert "no embedded cloud" in await front.refused(front.who(Key("AKIANOBODY0000000000", "x")))
    await front.table.keys.delete(front.alice.id)
    assert "no embedded cloud" in await front.refused(front.who())


async def test_a_role_that_trusts_the_account_asks_for_the_callers_own_permission(front: Front) -> None:
    told = await front.refused(front.assume())
    assert told == f"AccessDenied: User: {ALICE} is not authorized to perform: sts:AssumeRole on resource: {ROLE}"
    await front.table.policies.put_inline(USER, "p", policy("sts:AssumeRole", resource=ROLE))
    made = await front.assume()
    found = await front.who(made)
    assert found["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/etl/night"
    assert found["UserId"] == f"{(await front.table.identities.get(ETL)).id}:night"


@pytest.mark.parametrize(
    ("document", "own", "may"),
    [
        (trust({"AWS": ALICE}), None, True),
        (trust({"AWS": [ALICE]}), None, True),
        (trust("*"), None, True),
        (trust({"AWS": ACCOUNT}), MAY, True),
        (trust({"AWS": ACCOUNT}), None, False),
        (trust({"AWS": ALICE}), policy("sts:*", effect="Deny"), False),
        (trust({"AWS": ALICE}, Effect="Deny"), MAY, False),
        (trust({"AWS": ALICE.replace("alice", "bob")}), MAY, False),
        (trust({"Service": "airflow.amazonaws.com"}), MAY, False),
        (trust({"AWS": "arn:aws:iam::999999999999:root"}), MAY, False),
        (trust({"AWS": ALICE}, Action="sts:TagSession"), MAY, False),
        (trust({"AWS": ALICE}, Condition={"StringEquals": {"aws:PrincipalTag/team": "data"}}), None, True),
        (trust({"AWS": ALICE}, Condition={"StringEquals": {"aws:PrincipalTag/team": "other"}}), None, False),
        (trust({"AWS": ALICE}, Condition={"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}), None, True),
        (trust({"AWS": ALICE}, Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), None, False),
        (trust({"AWS": ALICE}, Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}}), MAY, False),
    ],
)
async def test_who_may_become_a_role(front: Front, document: str, own: str | None, may: bool) -> None:
    await front.table.identities.tag(USER, {"team": "data"})
    await front.table.identities.set_trust("etl", document)
    if own is not None:
        await front.table.policies.put_inline(USER, "own", own)
    if may:
        assert (await front.assume()).id.startswith("ASIA")
    else:
        assert (await front.refused(front.assume())).startswith("AccessDenied")


async def test_a_deny_beside_an_allow_wins(front: Front) -> None:
    allow, deny = json.loads(trust({"AWS": ALICE})), json.loads(trust("*", Effect="Deny"))
    both = {"Version": "2012-10-17", "Statement": [*allow["Statement"], *deny["Statement"]]}
    await front.table.identities.set_trust("etl", json.dumps(both))
    assert (await front.refused(front.assume())).startswith("AccessDenied")


async def test_an_external_id(front: Front) -> None:
    document = trust({"AWS": ALICE}, Condition={"StringEquals": {"sts:ExternalId": "secret-word"}})
    await front.table.identities.set_trust("etl", document)
    assert (await front.refused(front.assume())).startswith("AccessDenied")
    assert (await front.refused(front.assume(ExternalId="other"))).startswith("AccessDenied")
    assert (await front.assume(ExternalId="secret-word")).token


async def test_a_session_policy_limits_and_lasts(front: Front) -> None:
    await front.table.identities.set_trust("etl", trust({"AWS": ALICE}))
    await front.table.policies.create("readers", policy("airflow:GetEnvironment"))
    arn = f"arn:aws:iam::{ACCOUNT}:policy/readers"
    for given in ({"Policy": policy("airflow:GetEnvironment")}, {"PolicyArns": [{"arn": arn}]}):
        made = await front.assume(**given)
        found = await front.table.principals.resolve(made.id, made.token)
        assert found is not None
        assert found.principal is not None
        assert found.principal.session_policies == (json.loads(policy("airflow:GetEnvironment")),)
    told = await front.refused(front.assume(Policy="{}"))
    assert told.startswith("MalformedPolicyDocument")
    assert "no policy" in await front.refused(front.assume(PolicyArns=[{"arn": arn + "x"}]))


async def test_how_long(front: Front) -> None:
    await front.table.identities.set_trust("etl", trust({"AWS": [ALICE, ROLE]}))
    made = await front.assume(DurationSeconds=900)
    found = await front.table.principals.resolve(made.id, made.token)
    assert found is not None
    assert found.expires_at is not None
    assert timedelta(seconds=890) < found.expires_at - datetime.now(UTC) <= timedelta(seconds=900)
    assert "MaxSessionDuration" in await front.refused(front.assume(DurationSeconds=3601))
    assert "900" in await front.refused(front.assume(DurationSeconds=899))
    for strange in ("9" * 5000, "1e3", "-900", ""):  # Python itself makes no number of the first
        assert (await front.refused(front.assume(DurationSeconds=strange))).startswith("ValidationError")
    await front.table.identities.create(Who(Kind.ROLE, "long"), trust=trust({"AWS": [ALICE, ROLE]}), max_seconds=43200)
    long = ROLE.replace("etl", "long")
    assert await front.assume(arn=long, DurationSeconds=43200)
    chained = Key(made.id, made.secret, made.token)
    assert "1 hour" in await front.refused(front.assume(chained, arn=long, DurationSeconds=3601))
    assert await front.assume(chained, arn=long)


async def test_a_limited_session_gets_no_further_than_its_policies(front: Front) -> None:
    """A role may be trusted by name; a session of it that was limited is not the whole role."""
    await front.table.identities.set_trust("etl", trust({"AWS": [ALICE, ROLE]}))
    limited = await front.assume(Policy=policy("airflow:GetEnvironment"))
    assert (await front.refused(front.assume(limited))).startswith("AccessDenied")
    whole = await front.assume()
    assert await front.assume(whole)


@pytest.mark.parametrize(
    "arn",
    [
        ROLE + "x",
        "arn:aws:iam::999999999999:role/etl",
        "arn:aws:iam::100000000001:user/alice",
        "arn:aws:iam::100000000001:role/ETL",
        "etl" * 10,
    ],
)
async def test_a_role_that_is_not_there_is_refused_as_one_that_trusts_nobody(front: Front, arn: str) -> None:
    await front.table.policies.put_inline(USER, "p", MAY)
    told = await front.refused(front.assume(arn=arn))
    assert told == f"AccessDenied: User: {ALICE} is not authorized to perform: sts:AssumeRole on resource: {arn}"


async def test_what_is_not_supported_is_said(front: Front) -> None:
    await front.table.identities.set_trust("etl", trust({"AWS": ALICE}))
    told = await front.refused(front.assume(Tags=[{"Key": "a", "Value": "b"}]))
    assert told == "ValidationError: Tags is not supported here; leave it out."
    assert (await front.refused(front.assume(RoleSessionName="x y"))).startswith("ValidationError")
    told = await front.refused(asyncio.to_thread(front.client(front.alice).get_session_token))
    assert told.startswith("InvalidAction")


async def test_an_ended_session_is_told_as_one(front: Front) -> None:
    role = await front.table.identities.get(ETL)
    made = await front.table.keys.open_session(role.id, "n", None, datetime.now(UTC) - timedelta(seconds=1))
    ended = Key(made.access_key_id, made.secret_access_key, made.session_token)
    assert (await front.refused(front.who(ended))).startswith("ExpiredToken")
    assert (await front.refused(front.who(Key(ended.id, ended.secret, "x")))).startswith("InvalidClientTokenId")


async def test_a_session_ends_with_its_role(front: Front) -> None:
    await front.table.identities.set_trust("etl", trust({"AWS": ALICE}))
    made = await front.assume()
    await front.table.identities.delete(ETL)
    assert "no embedded cloud" in await front.refused(front.who(made))

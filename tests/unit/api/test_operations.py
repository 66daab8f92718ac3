"""The operations through boto3's own client, against a real store; roles and buckets are tables here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotoCredentials
from botocore.exceptions import ClientError
from starlette.applications import Starlette

from aerodrome.api.airflow_session import AirflowSessions
from aerodrome.api.app import FrontDoor
from aerodrome.api.call import fold
from aerodrome.api.context import Context
from aerodrome.api.history import build_history
from aerodrome.api.middleware import build_middleware, build_operation
from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.principal import AccessKey, Credentials, Principal
from aerodrome.errors import Permanent
from aerodrome.gateway.hosts import loopback_address
from aerodrome.identity import Verifier
from aerodrome.store.database import Pool
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.events import EventStore
from aerodrome.store.tokens import TokenStore
from aerodrome.store.vault import Vault
from aerodrome.wire import Wire
from support.asgi import serving

ACCOUNT = "100000000001"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/mwaa"
ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
GIVEN: dict[str, Any] = {
    "ExecutionRoleArn": ROLE,
    "SourceBucketArn": "arn:aws:s3:::good",
    "DagS3Path": "dags/",
    "NetworkConfiguration": {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]},
}
OPEN = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": False}
CLOSED = {**OPEN, "RestrictPublicBuckets": True}


def error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "S3")


class Buckets:
    """What S3 says of a few buckets."""

    def list_objects_v2(self, Bucket: str, **_: Any) -> Mapping[str, Any]:  # noqa: N803 - boto3's name
        if Bucket == "missing":
            raise error("NoSuchBucket")
        if Bucket == "forbidden":
            raise error("AccessDenied")
        return {"KeyCount": 0}

    def get_bucket_versioning(self, Bucket: str) -> Mapping[str, Any]:  # noqa: N803
        return {} if Bucket == "unversioned" else {"Status": "Enabled"}

    def get_public_access_block(self, Bucket: str) -> Mapping[str, Any]:  # noqa: N803
        if Bucket == "unblocked":
            raise error("NoSuchPublicAccessBlockConfiguration")
        return {"PublicAccessBlockConfiguration": OPEN if Bucket == "open" else CLOSED}


class Account:
    """Keys by id: `admin`, and whatever a test adds. Implements PrincipalSource and RoleSource."""

    def __init__(self) -> None:
        self.policies: dict[str, list[dict[str, Any]]] = {"admin": [ALL]}

    async def resolve(self, key_id: str, session_token: str | None) -> AccessKey | None:
        if key_id not in self.policies:
            return None
        policy = {"Version": "2012-10-17", "Statement": self.policies[key_id]}
        arn = f"arn:aws:iam::{ACCOUNT}:user/{key_id}"
        return AccessKey(key_id, "secret", principal=Principal(arn, ACCOUNT, "aws", key_id, (policy,)))

    async def assume_role(
        self, role_arn: str, session_name: str, duration: int = 3600, *, source_arn: str | None = None
    ) -> Credentials:
        if role_arn != ROLE:
            raise Permanent(f"There is no role {role_arn}.")
        return Credentials("key", "secret", "token", datetime.now(UTC) + timedelta(hours=1))


class NoServers:
    async def web_servers(self, environment: Environment) -> list[str]:
        return []


class House:
    def __init__(
        self, url: str, account: Account, store: EnvironmentStore, upstreams: NoServers, poked: list[str]
    ) -> None:
        self.url, self.account, self.store, self.upstreams, self.poked = url, account, store, upstreams, poked

    def client(self, key: str = "admin", region: str = "eu-west-1") -> Any:
        return boto3.Session().client(
            "mwaa",
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=key,
            aws_secret_access_key="secret",
            config=Config(inject_host_prefix=False, retries={"total_max_attempts": 1}),
        )

    async def call(self, operation: str, key: str = "admin", region: str = "eu-west-1", **params: Any) -> Any:
        return await asyncio.to_thread(getattr(self.client(key, region), operation), **params)

    async def history(self, name: str, after: str = "0", key: str = "admin", signed: bool = True) -> tuple[int, Any]:
        request = AWSRequest("GET", f"{self.url}/_aerodrome/environments/{name}/events?after={after}")
        if signed:
            SigV4Auth(BotoCredentials(key, "secret"), "airflow", "eu-west-1").add_auth(request)
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(request.url, headers=dict(request.headers))
        return answer.status_code, answer.json()

    async def refused(self, operation: str, key: str = "admin", region: str = "eu-west-1", **params: Any) -> Any:
        with pytest.raises(ClientError) as caught:
            await self.call(operation, key, region, **params)
        return caught.value.response

    async def create(self, name: str = "demo", region: str = "eu-west-1", **members: Any) -> Any:
        return await self.call("create_environment", region=region, Name=name, **{**GIVEN, **members})

    async def become(self, name: str, status: Status) -> None:
        for row in await self.store.all():
            if row.key.name == name:
                assert await self.store.update(row, status=status) is not None


@pytest.fixture
async def house(pool: Pool) -> AsyncIterator[House]:
    store, events, account, poked = EnvironmentStore(pool, vault := Vault(b"k" * 32)), EventStore(pool), Account(), []
    context = Context(
        store=store,
        events=events,
        tokens=TokenStore(pool),
        vault=vault,
        roles=account,
        s3_client=lambda credentials, region: Buckets(),
        upstreams=(upstreams := NoServers()),
        sessions=AirflowSessions(),
        poke=poked.append,
        now=lambda: datetime.now(UTC),
        loopback_address=loopback_address,
        gateway_port=443,
        web_host="address",
        strict=False,
    )
    wire, verifier = Wire("mwaa"), Verifier(account, context.now)
    door = FrontDoor(
        own=Starlette(),
        mwaa=fold(middleware := build_middleware(wire, verifier), build_operation(wire, context)),
        history=fold(middleware[:-1], build_history(context)),
        wire=wire,
        cloud=None,
        healthy=lambda: True,
    )
    async with serving(door) as url:
        yield House(url, account, store, upstreams, poked)


async def test_create_then_get(house: House) -> None:
    made = await house.create(Tags={"team": "a"})
    assert made["Arn"] == f"arn:aws:airflow:eu-west-1:{ACCOUNT}:environment/demo"
    shown = (await house.call("get_environment", Name="demo"))["Environment"]
    assert shown["Status"] == "CREATING"
    assert shown["LastUpdate"]["Status"] == "PENDING"
    assert isinstance(shown["CreatedAt"], datetime)
    assert len(house.poked) == 1


async def test_what_is_given_is_shown(house: House) -> None:
    given = {
        "AirflowConfigurationOptions": {"core.parallelism": "9"},
        "EnvironmentClass": "mw1.medium",
        "MaxWorkers": 4,
        "WebserverAccessMode": "PUBLIC_ONLY",
        "WeeklyMaintenanceWindowStart": "MON:00:30",
        "Tags": {"a": "b"},
        "LoggingConfiguration": {"TaskLogs": {"Enabled": True, "LogLevel": "WARNING"}},
    }
    await house.create(**given)
    shown = (await house.call("get_environment", Name="demo"))["Environment"]
    for member, value in ({**GIVEN, **given}).items():
        if member == "LoggingConfiguration":
            assert shown[member]["TaskLogs"] == {"Enabled": True, "LogLevel": "WARNING"}
        else:
            assert shown[member] == value, member


async def test_a_change_is_shown_by_the_next_call(house: House) -> None:
    await house.create("demo")
    await house.create("other")
    for status in (Status.AVAILABLE, Status.DELETING, Status.AVAILABLE):
        await house.become("demo", status)
        for name, expected in (("demo", status), ("other", Status.CREATING), ("demo", status)):
            shown = (await house.call("get_environment", Name=name))["Environment"]
            assert (shown["Name"], shown["Status"]) == (name, expected)


async def test_the_bucket_must_be_right(house: House) -> None:
    for bucket, words in {
        "missing": "there is no bucket missing",
        "forbidden": "Provided role does not have sufficient permissions for s3 location forbidden/dags",
        "unversioned": "versioning is not enabled",
        "unblocked": "does not have BlockPublicAccess set for s3 bucket unblocked",
        "open": "does not have BlockPublicAccess set for s3 bucket open",
    }.items():
        given = {**GIVEN, "SourceBucketArn": f"arn:aws:s3:::{bucket}"}
        refusal = await house.refused("create_environment", Name="demo", **given)
        assert refusal["Error"]["Code"] == "ValidationException"
        assert words in refusal["Error"]["Message"]
    assert await house.store.all() == []
    assert house.poked == []


async def test_the_role_must_be_there(house: House) -> None:
    given = {**GIVEN, "ExecutionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/other"}
    refusal = await house.refused("create_environment", Name="demo", **given)
    assert "ExecutionRoleArn: There is no role" in refusal["Error"]["Message"]
    assert await house.store.all() == []


async def test_pass_role_is_needed(house: House) -> None:
    house.account.policies["maker"] = [{"Effect": "Allow", "Action": "airflow:*", "Resource": "*"}]
    refusal = await house.refused("create_environment", key="maker", Name="demo", **GIVEN)
    assert refusal["Error"]["Code"] == "AccessDeniedException"
    assert "is not authorized to perform: iam:PassRole" in refusal["Error"]["Message"]
    passing = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": ROLE}
    house.account.policies["maker"].append(passing)
    await house.call("create_environment", key="maker", Name="demo", **GIVEN)


async def test_of_two_creates_one_wins(house: House) -> None:
    results = await asyncio.gather(*(house.create() for _ in range(4)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, ClientError)]
    assert len(refused) == 3
    assert all(result.response["Error"]["Code"] == "ValidationException" for result in refused)
    assert len(await house.store.all()) == 1


async def test_listing_in_pages(house: House) -> None:
    for name in ("a", "b", "c", "d", "e"):
        await house.create(name)
    await house.create("elsewhere", region="us-east-1")
    first = await house.call("list_environments", MaxResults=2)
    assert first["Environments"] == ["a", "b"]
    second = await house.call("list_environments", MaxResults=2, NextToken=first["NextToken"])
    assert second["Environments"] == ["c", "d"]
    last = await house.call("list_environments", MaxResults=2, NextToken=second["NextToken"])
    assert last["Environments"] == ["e"]
    assert "NextToken" not in last
    for token in (first["NextToken"][:-8] + "AAAAAAA=", "forged", "é"):
        refusal = await house.refused("list_environments", NextToken=token)
        assert refusal["Error"]["Code"] == "ValidationException"
    foreign = await house.refused("list_environments", region="us-east-1", NextToken=first["NextToken"])
    assert "NextToken" in foreign["Error"]["Message"]


async def test_tags_take_part_in_policies(house: House) -> None:
    await house.create("mine", Tags={"team": "a"})
    await house.create("theirs", Tags={"team": "b"})
    condition = {"StringEquals": {"aws:ResourceTag/team": "a"}}
    house.account.policies["a"] = [
        {"Effect": "Allow", "Action": "airflow:GetEnvironment", "Resource": "*", "Condition": condition}
    ]
    await house.call("get_environment", key="a", Name="mine")
    assert (await house.refused("get_environment", key="a", Name="theirs"))["Error"]["Code"] == "AccessDeniedException"
    unknown = await house.refused("get_environment", key="a", Name="nobody")
    assert unknown["Error"]["Code"] == "AccessDeniedException", "who may not see it must not learn that it isn't there"


async def test_tokens_need_a_role_and_a_web_server(house: House) -> None:
    await house.create()
    refusal = await house.refused("create_web_login_token", Name="demo")
    assert "Environments with CREATING status cannot be signed in to" in refusal["Error"]["Message"]
    await house.become("demo", Status.AVAILABLE)
    made = await house.call("create_web_login_token", Name="demo")
    assert (made["IamIdentity"], made["AirflowIdentity"]) == ("user/admin", "user/admin")
    house.account.policies["none"] = [
        {"Effect": "Allow", "Action": "airflow:CreateWebLoginToken", "Resource": "arn:aws:airflow:*:*:environment/*"}
    ]
    denied = await house.refused("create_web_login_token", key="none", Name="demo")
    assert denied["Error"]["Code"] == "AccessDeniedException"
    assert "No Airflow role granted in IAM." in str(denied)


async def test_invoke_rest_api_without_a_web_server_says_so(house: House) -> None:
    await house.create()
    await house.become("demo", Status.AVAILABLE)
    refusal = await house.refused("invoke_rest_api", Name="demo", Path="/dags", Method="GET")
    assert refusal["Error"]["Code"] == "RestApiServerException"
    assert refusal["RestApiStatusCode"] == 503


async def test_deleting_twice(house: House) -> None:
    await house.create()
    await house.call("delete_environment", Name="demo")
    refusal = await house.refused("delete_environment", Name="demo")
    assert "Environments with DELETING status cannot be deleted" in refusal["Error"]["Message"]
    taken = await house.refused("create_environment", Name="demo", **GIVEN)
    assert "exists already" in taken["Error"]["Message"]


async def test_what_is_not_there_yet_says_so(house: House) -> None:
    await house.create()
    arn = f"arn:aws:airflow:eu-west-1:{ACCOUNT}:environment/demo"
    for operation, params in {
        "update_environment": {"Name": "demo"},
        "tag_resource": {"ResourceArn": arn, "Tags": {"a": "b"}},
        "untag_resource": {"ResourceArn": arn, "tagKeys": ["a"]},
        "list_tags_for_resource": {"ResourceArn": arn},
    }.items():
        refusal = await house.refused(operation, **params)
        assert refusal["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert "not supported by this release" in refusal["Error"]["Message"]


async def test_a_path_never_leads_out_of_the_api(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def servers(environment: Environment) -> list[str]:
        return ["127.0.0.1:1"]

    monkeypatch.setattr(house.upstreams, "web_servers", servers)
    await house.create()
    await house.become("demo", Status.AVAILABLE)
    for path in ("../../execution/x", "/dags/../../auth", "/%2e%2e/x", "/a/%2E%2E/b", "\\..\\x", "/dags#x", "/d\x01"):
        refusal = await house.refused("invoke_rest_api", Name="demo", Path=path, Method="GET")
        assert refusal["Error"]["Code"] == "ValidationException", path
        assert "Path" in refusal["Error"]["Message"]
    reached = await house.refused("invoke_rest_api", Name="demo", Path="/dags/a..b", Method="GET")
    assert reached["Error"]["Code"] == "RestApiServerException"


async def test_the_history_is_for_those_who_may_get(house: House) -> None:
    await house.create()
    house.account.policies["other"] = [{"Effect": "Allow", "Action": "airflow:ListEnvironments", "Resource": "*"}]
    status, body = await house.history("demo")
    assert status == 200
    assert [event["Type"] for event in body["Events"]] == ["create.requested"]
    assert body["Events"][0]["Actor"] == f"arn:aws:iam::{ACCOUNT}:user/admin"
    assert (await house.history("demo", after="999999"))[1] == {"Events": []}
    assert (await house.history("demo", after="x"))[0] == 400
    assert (await house.history("demo", key="other"))[0] == 403
    assert (await house.history("demo", signed=False))[0] == 403

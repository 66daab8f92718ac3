"""The operations through boto3's own client, against a real store; roles and buckets are tables here."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest
from botocore.exceptions import ClientError

from aerodrome.api.operations import OPERATIONS
from aerodrome.domain.environment import Status
from support.mwaa import ACCOUNT, GIVEN, ROLE, House


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


async def test_an_operation_that_only_the_model_knows_says_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an upgrade of botocore."""
    monkeypatch.delitem(OPERATIONS, "UpdateEnvironment")
    await house.create()
    refusal = await house.refused("update_environment", Name="demo")
    assert refusal["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert "not supported by this release" in refusal["Error"]["Message"]


async def test_a_path_never_leads_out_of_the_api(house: House) -> None:
    house.upstreams.addresses = ["127.0.0.1:1"]
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

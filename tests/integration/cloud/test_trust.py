"""Execution roles at a real STS: who may assume them, as our own service does and as an installation does on AWS."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from aerodrome.api.checks import check_bucket
from aerodrome.aws.clients import AwsClients
from aerodrome.aws.cloud import AwsRoleSource
from aerodrome.content.credentials import RoleCredentials
from aerodrome.domain.principal import Credentials
from aerodrome.errors import ApiError, Permanent, Temporary

from .conftest import ACCOUNT, TRUST, RunningCloud

OURS = f"arn:aws:airflow:us-east-1:{ACCOUNT}:environment/demo"


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def role(cloud: RunningCloud, name: str, *trusted: dict[str, Any]) -> str:
    iam = cloud.client("iam")
    return str(iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(*trusted))["Role"]["Arn"])


def to_add(message: str) -> dict[str, Any]:
    """The statement that a message says to add to a trust policy."""
    return dict(json.JSONDecoder().raw_decode(message[message.index("{") :])[0])


async def test_a_role_must_trust_both_services(shared_cloud: RunningCloud) -> None:
    trusting: dict[str, Any] = TRUST["Statement"][0]  # type: ignore[assignment]
    main = {**trusting, "Principal": {"Service": "airflow.amazonaws.com"}}
    arn = role(shared_cloud, "half", main)
    with pytest.raises(Permanent, match=r"doesn't trust airflow-env.amazonaws.com for") as refused:
        await shared_cloud.socket.assume_role(arn, "task", source_arn=OURS)
    added = document(main, to_add(str(refused.value)))
    shared_cloud.client("iam").update_assume_role_policy(RoleName="half", PolicyDocument=added)
    assert await shared_cloud.socket.assume_role(arn, "task", source_arn=OURS)
    with pytest.raises(Permanent, match="doesn't trust"):
        await shared_cloud.socket.assume_role(arn, "task", source_arn=f"{OURS}-2")


async def test_what_is_confirmed_is_the_role_as_it_is_now(shared_cloud: RunningCloud) -> None:
    iam = shared_cloud.client("iam")
    arn = role(shared_cloud, "changing", TRUST["Statement"][0])  # type: ignore[arg-type]
    first = await shared_cloud.socket.confirm(arn, source_arn=OURS)
    assert first.principal is not None
    assert (first.principal.arn, first.principal.policies) == (arn, ())
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    iam.put_role_policy(RoleName="changing", PolicyName="p", PolicyDocument=document(statement))
    second = await shared_cloud.socket.confirm(arn, source_arn=OURS)
    assert second.principal is not None
    assert (second.id, second.principal.policies) == (first.id, ({"Version": "2012-10-17", "Statement": [statement]},))
    iam.delete_role_policy(RoleName="changing", PolicyName="p")
    iam.delete_role(RoleName="changing")
    with pytest.raises(Permanent, match="There is no role"):
        await shared_cloud.socket.confirm(arn, source_arn=OURS)
    role(shared_cloud, "changing", TRUST["Statement"][0])  # type: ignore[arg-type]
    assert (await shared_cloud.socket.confirm(arn, source_arn=OURS)).id != first.id


async def test_trust_that_is_taken_away_ends_the_credentials_and_brings_them_back(shared_cloud: RunningCloud) -> None:
    arn = role(shared_cloud, "fickle", TRUST["Statement"][0])  # type: ignore[arg-type]
    moment = datetime.now(UTC)
    credentials = RoleCredentials(shared_cloud.socket, lambda: moment)

    async def get() -> Credentials:
        nonlocal moment
        moment += timedelta(seconds=1)
        return await credentials.get(arn, "task", source_arn=OURS)

    first = await get()
    assert await get() is first
    iam = shared_cloud.client("iam")
    other = {**TRUST["Statement"][0], "Principal": {"Service": "ec2.amazonaws.com"}}  # type: ignore[dict-item]
    iam.update_assume_role_policy(RoleName="fickle", PolicyDocument=document(other))
    with pytest.raises(Permanent, match=r"doesn't trust airflow.amazonaws.com and airflow-env.amazonaws.com"):
        await get()
    iam.update_assume_role_policy(RoleName="fickle", PolicyDocument=json.dumps(TRUST))
    assert await get() is not first


@pytest.mark.parametrize(
    ("actions", "told"),
    [
        (("s3:GetObject*", "s3:GetBucket*", "s3:List*"), None),
        (("s3:GetBucket*", "s3:List*"), "for s3 location tried/dags (s3:GetObject)"),
        (("s3:GetObject*", "s3:GetBucket*"), "for s3 location tried/dags (AccessDenied)"),
        (("s3:GetObject*", "s3:GetBucketPublicAccessBlock", "s3:List*"), "for s3 location tried/dags (AccessDenied)"),
        (("s3:GetObject*", "s3:GetBucketVersioning", "s3:List*"), "the public access block of s3 bucket tried"),
        ((), "for s3 location tried/dags (AccessDenied)"),
    ],
)
async def test_a_dry_run_on_a_real_bucket(
    shared_cloud: RunningCloud, actions: tuple[str, ...], told: str | None
) -> None:
    s3, name = shared_cloud.client("s3"), f"tries-{'-'.join(action[3:].strip('*') for action in actions) or 'nothing'}"
    s3.create_bucket(Bucket="tried")
    s3.put_bucket_versioning(Bucket="tried", VersioningConfiguration={"Status": "Enabled"})
    arn = role(shared_cloud, name, TRUST["Statement"][0])  # type: ignore[arg-type]
    if actions:
        statement = {"Effect": "Allow", "Action": actions, "Resource": ["arn:aws:s3:::tried", "arn:aws:s3:::tried/*"]}
        shared_cloud.client("iam").put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(statement))
    credentials = await shared_cloud.socket.assume_role(arn, "check", source_arn=OURS)
    clients = AwsClients({"": shared_cloud.url})
    context: Any = SimpleNamespace(s3_client=lambda given, region: clients.client("s3", region, given))
    members = {"SourceBucketArn": "arn:aws:s3:::tried", "DagS3Path": "dags/"}
    looked = check_bucket(context, credentials, members, "us-east-1")
    if told is None:
        await looked
        return
    with pytest.raises(ApiError, match="Provided role does not have sufficient permissions") as refused:
        await looked
    assert told in str(refused.value)


class Installation:
    """An installation whose STS is a real one: it has a key of a user of its own."""

    def __init__(self, cloud: RunningCloud, *statements: dict[str, Any]) -> None:
        self.name = f"installation-{len(statements)}-{id(self)}"
        self.arn = f"arn:aws:iam::{ACCOUNT}:user/{self.name}"
        key, secret = cloud.user(self.name, *statements)
        own = Credentials(key, secret, "", datetime.max.replace(tzinfo=UTC))
        self.roles = AwsRoleSource(AwsClients({"": cloud.url}), own, "us-east-1")


MAY = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}


def trusting(principal: str, external_id: str | None) -> dict[str, Any]:
    condition = {"Condition": {"StringEquals": {"sts:ExternalId": external_id}}} if external_id else {}
    return {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole", **condition}


@pytest.mark.parametrize("condition", [None, OURS])
async def test_on_aws_a_role_trusts_the_installations_principal(
    shared_cloud: RunningCloud, condition: str | None
) -> None:
    here = Installation(shared_cloud, MAY)
    arn = role(shared_cloud, f"on-aws-{bool(condition)}", trusting(here.arn, condition))
    found = await here.roles.assume_role(arn, "AmazonMWAA-1", source_arn=OURS)
    keys = (found.access_key_id, found.secret_access_key, found.session_token)
    assumed = shared_cloud.client("sts", *keys).get_caller_identity()["Arn"]
    assert assumed == f"arn:aws:sts::{ACCOUNT}:assumed-role/on-aws-{bool(condition)}/AmazonMWAA-1"
    assert found.expires_at > datetime.now(UTC) + timedelta(minutes=50)


async def test_on_aws_a_role_can_be_for_one_environment(shared_cloud: RunningCloud) -> None:
    """Not `aws:SourceArn`, which no installation can give, but the external id is its ARN."""
    here = Installation(shared_cloud, MAY)
    arn = role(shared_cloud, "for-one", trusting(here.arn, OURS))
    with pytest.raises(Permanent) as refused:
        await here.roles.assume_role(arn, "AmazonMWAA-2", source_arn=f"{OURS}-2")
    assert to_add(str(refused.value).partition("trust policy:")[2]) == trusting(here.arn, f"{OURS}-2")


async def test_on_aws_a_refusal_says_what_to_add_and_that_helps(shared_cloud: RunningCloud) -> None:
    here = Installation(shared_cloud, MAY)
    services: dict[str, Any] = TRUST["Statement"][0]  # type: ignore[assignment]
    arn = role(shared_cloud, "of-mwaa", services)
    with pytest.raises(Permanent, match=r"AccessDenied.*add to its trust policy") as refused:
        await here.roles.assume_role(arn, "AmazonMWAA-1", source_arn=OURS)
    added = document(services, to_add(str(refused.value).partition("trust policy:")[2]))
    shared_cloud.client("iam").update_assume_role_policy(RoleName="of-mwaa", PolicyDocument=added)
    assert await here.roles.assume_role(arn, "AmazonMWAA-1", source_arn=OURS)


async def test_on_aws_a_source_that_is_away_is_temporary(shared_cloud: RunningCloud) -> None:
    own = Credentials("AKIAINSTALLATION0001", "s", "", datetime.max.replace(tzinfo=UTC))
    roles = AwsRoleSource(AwsClients({"": "http://127.0.0.1:9"}), own, "us-east-1")
    with pytest.raises(Temporary, match="doesn't answer"):
        await roles.assume_role(f"arn:aws:iam::{ACCOUNT}:role/any", "AmazonMWAA-1", source_arn=OURS)

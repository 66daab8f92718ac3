"""Regions of other partitions at the embedded cloud: an account's one IAM speaks each region's own ARNs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from aerodrome.domain.partitions import partition_of

from .conftest import ACCOUNT, ADMIN_KEY, TRUST, RunningCloud

PLACES = [("aws-cn", "cn-north-1"), ("aws-us-gov", "us-gov-west-1")]


def allow(*actions: str, resource: str = "*") -> str:
    statement = {"Effect": "Allow", "Action": actions, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.mark.parametrize(("partition", "region"), PLACES)
def test_iam_and_sts_speak_of_the_regions_partition(shared_cloud: RunningCloud, partition: str, region: str) -> None:
    iam, home = shared_cloud.client("iam", region=region), shared_cloud.client("iam")
    arn = shared_cloud.client("sts", region=region).get_caller_identity()["Arn"]
    assert arn == f"arn:{partition}:iam::{ACCOUNT}:user/admin"
    name = f"runs-in-{region}"
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    assert role["Arn"] == f"arn:{partition}:iam::{ACCOUNT}:role/{name}"
    assert home.get_role(RoleName=name)["Role"]["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/{name}"
    document = allow("s3:GetObject", resource=f"arn:{partition}:s3:::b/*")
    policy = iam.create_policy(PolicyName=name, PolicyDocument=document)["Policy"]["Arn"]
    assert policy == f"arn:{partition}:iam::{ACCOUNT}:policy/{name}"
    iam.attach_role_policy(RoleName=name, PolicyArn=policy)
    iam.attach_role_policy(RoleName=name, PolicyArn=f"arn:{partition}:iam::aws:policy/ReadOnlyAccess")
    attached = {each["PolicyArn"] for each in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]}
    assert attached == {policy, f"arn:{partition}:iam::aws:policy/ReadOnlyAccess"}
    version = iam.get_policy_version(PolicyArn=policy, VersionId="v1")["PolicyVersion"]["Document"]
    assert version == json.loads(document)
    kept = home.get_policy_version(PolicyArn=policy.replace(partition, "aws"), VersionId="v1")
    assert kept["PolicyVersion"]["Document"] == json.loads(document.replace(partition, "aws"))


@pytest.mark.parametrize(("partition", "region"), PLACES)
async def test_policies_and_roles_of_a_partition_count_in_its_regions(
    shared_cloud: RunningCloud, partition: str, region: str
) -> None:
    """As Terraform writes them, which asks the region for its partition."""
    iam, s3, name = shared_cloud.client("iam", region=region), shared_cloud.client("s3", region=region), f"at-{region}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})
    s3.put_object(Bucket=name, Key="dags/a.py", Body=b"x")
    source = f"arn:{partition}:airflow:{region}:{ACCOUNT}:environment/demo"
    trust: dict[str, Any] = json.loads(json.dumps(TRUST))
    trust["Statement"][0]["Condition"] = {"ArnLike": {"aws:SourceArn": source}}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(
        RoleName=name, PolicyName="p", PolicyDocument=allow("s3:GetObject", resource=f"arn:{partition}:s3:::{name}/*")
    )
    found = await shared_cloud.socket.assume_role(role, "session", source_arn=source)
    keys = (found.access_key_id, found.secret_access_key, found.session_token)
    assert (
        shared_cloud.client("s3", *keys, region=region).get_object(Bucket=name, Key="dags/a.py")["Body"].read() == b"x"
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        shared_cloud.client("s3", *keys, region=region).put_object(Bucket=name, Key="dags/a.py", Body=b"y")
    assumed = shared_cloud.client("sts", *keys, region=region).get_caller_identity()["Arn"]
    assert assumed == f"arn:{partition}:sts::{ACCOUNT}:assumed-role/{name}/session"


@pytest.mark.parametrize(("partition", "region"), PLACES)
def test_a_user_assumes_a_role_by_its_arn_of_the_partition(
    shared_cloud: RunningCloud, partition: str, region: str
) -> None:
    iam, name = shared_cloud.client("iam", region=region), f"for-users-{region}"
    trusted = {"AWS": f"arn:{partition}:iam::{ACCOUNT}:root"}
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole"}],
    }
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    user = f"user-{region}"
    key, secret = shared_cloud.user(user)
    sts = shared_cloud.client("sts", key, secret, region=region)
    with pytest.raises(ClientError, match="AccessDenied"):
        sts.assume_role(RoleArn=role, RoleSessionName="session")
    iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=allow("sts:AssumeRole", resource=role))
    assumed = sts.assume_role(RoleArn=role, RoleSessionName="session")["AssumedRoleUser"]["Arn"]
    assert assumed == f"arn:{partition}:sts::{ACCOUNT}:assumed-role/{name}/session"


async def test_what_the_control_plane_learns_of_a_key_is_seen_in_any_partition(shared_cloud: RunningCloud) -> None:
    known = await shared_cloud.socket.resolve(ADMIN_KEY, None)
    assert known is not None
    assert known.principal is not None
    for region in ("eu-west-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1"):
        partition = partition_of(region)
        assert known.principal.seen_in(partition).arn == f"arn:{partition}:iam::{ACCOUNT}:user/admin"

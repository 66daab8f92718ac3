"""The bucket and the execution role that an environment needs, made in the account when the user names none."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from aerodrome.cli.connection import Connection, error_code
from aerodrome.errors import Permanent

_BUCKET_LIMIT = 63
_ROLE_LIMIT = 64
GROUP = "aerodrome-this-machine"


def bucket_name(connection: Connection, environment: str) -> str:
    """`aerodrome-NAME-ACCOUNT`, with the region behind it when that isn't the installation's own."""
    home = connection.region == connection.installation.region
    tail = f"-{connection.installation.account}" + ("" if home else f"-{connection.region}")
    plain = re.sub(r"[^a-z0-9-]+", "-", environment.lower()).strip("-")
    return _fitted("aerodrome-", plain, tail, _BUCKET_LIMIT, distinct=plain != environment, seed=environment)


def role_name(connection: Connection, environment: str) -> str:
    """IAM knows no regions: the region is part of the name."""
    return _fitted("aerodrome-", environment, f"-{connection.region}", _ROLE_LIMIT, distinct=False, seed=environment)


def _fitted(head: str, middle: str, tail: str, limit: int, *, distinct: bool, seed: str) -> str:
    """head + middle + tail; a hash stands in where the middle had to be changed or cut."""
    if distinct or len(head + middle + tail) > limit:
        mark = "-" + hashlib.sha256(seed.encode()).hexdigest()[:8]
        middle = middle[: limit - len(head + tail + mark)].rstrip("-") + mark
    return head + middle + tail


def ensure_bucket(connection: Connection, bucket: str) -> bool:
    """A private bucket with versions, as MWAA asks for (mwaa-spec 5); returns whether it is new."""
    s3 = connection.client("s3")
    new = not _bucket_exists(s3, bucket)
    if new:
        where = {"CreateBucketConfiguration": {"LocationConstraint": connection.region}}
        s3.create_bucket(Bucket=bucket, **({} if connection.region == "us-east-1" else where))
    s3.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return new


def _bucket_exists(s3: Any, bucket: str) -> bool:
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error_code(error) in ("404", "NoSuchBucket"):
            return False
        raise
    return True


def network(connection: Connection) -> dict[str, list[str]]:
    """NetworkConfiguration: two subnets of the default VPC, and a group of ours that lets this machine in to 443.

    Raises:
        Permanent: the region has no such VPC any more.
    """
    ec2 = connection.client("ec2")
    zones: dict[str, dict[str, str]] = {}  # VPC -> availability zone -> subnet
    for subnet in ec2.describe_subnets()["Subnets"]:
        if subnet.get("DefaultForAz"):
            zones.setdefault(subnet["VpcId"], {})[subnet["AvailabilityZone"]] = subnet["SubnetId"]
    for vpc, subnets in zones.items():
        if len(subnets) >= 2:
            chosen = [subnets[zone] for zone in sorted(subnets)[:2]]
            return {"SubnetIds": chosen, "SecurityGroupIds": [_ensure_group(ec2, vpc)]}
    raise Permanent(
        f"{connection.region} has no VPC with two default subnets any more; create the environment with "
        "`aws mwaa create-environment` and a network of yours."
    )


def _ensure_group(ec2: Any, vpc: str) -> str:
    for group in ec2.describe_security_groups()["SecurityGroups"]:
        if (group["GroupName"], group.get("VpcId")) == (GROUP, vpc):
            return str(group["GroupId"])  # as it is: its rules are its owner's by now
    description = "Web servers of Airflow environments: this machine"
    made = ec2.create_security_group(GroupName=GROUP, Description=description, VpcId=vpc)["GroupId"]
    https = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
    here = [{**https, "IpRanges": [{"CidrIp": "127.0.0.0/8"}]}, {**https, "Ipv6Ranges": [{"CidrIpv6": "::1/128"}]}]
    ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=here)
    return str(made)


def ensure_role(
    connection: Connection, name: str, environment: str, bucket: str, extra: Sequence[Mapping[str, Any]] = ()
) -> str:
    """The execution role with MWAA's trust and sample permissions; returns its ARN.

    `extra` statements are a policy of their own, which a later call without any leaves alone.
    """
    iam = connection.client("iam")
    trust = json.dumps(trust_policy())
    try:
        arn = iam.create_role(
            RoleName=name,
            AssumeRolePolicyDocument=trust,
            Description=f"Execution role of the Airflow environment {environment}",
        )["Role"]["Arn"]
    except ClientError as error:
        if error_code(error) != "EntityAlreadyExists":
            raise
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust)
        arn = iam.get_role(RoleName=name)["Role"]["Arn"]
    policies = {"execution": execution_policy(connection, environment, bucket)}
    if extra:
        policies["extra"] = {"Version": "2012-10-17", "Statement": list(extra)}
    for policy, document in policies.items():
        iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(document))
    return str(arn)


def trust_policy() -> dict[str, Any]:
    services = ["airflow.amazonaws.com", "airflow-env.amazonaws.com"]
    statement = {"Effect": "Allow", "Principal": {"Service": services}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def execution_policy(connection: Connection, environment: str, bucket: str) -> dict[str, Any]:
    """MWAA's sample policy for an environment with an AWS-owned key (mwaa-spec 8)."""
    partition, region, account = connection.partition, connection.region, connection.installation.account
    bucket_arns = [f"arn:{partition}:s3:::{bucket}", f"arn:{partition}:s3:::{bucket}/*"]
    log_actions = (
        "CreateLogStream CreateLogGroup PutLogEvents GetLogEvents GetLogRecord GetLogGroupFields GetQueryResults"
    )
    queue_actions = "ChangeMessageVisibility DeleteMessage GetQueueAttributes GetQueueUrl ReceiveMessage SendMessage"
    groups = f"arn:{partition}:logs:{region}:{account}:log-group:airflow-{environment}-*"
    arn = f"arn:{partition}:airflow:{region}:{account}:environment/{environment}"
    statements: list[Mapping[str, Any]] = [
        _allow(["airflow:PublishMetrics"], [arn]),
        {"Effect": "Deny", "Action": "s3:ListAllMyBuckets", "Resource": bucket_arns},
        _allow(["s3:GetObject*", "s3:GetBucket*", "s3:List*"], bucket_arns),
        _allow(["s3:GetAccountPublicAccessBlock"], ["*"]),
        _allow([f"logs:{action}" for action in log_actions.split()], [groups]),
        _allow(["logs:DescribeLogGroups"], ["*"]),
        _allow(["cloudwatch:PutMetricData"], ["*"]),
        _allow(
            [f"sqs:{action}" for action in queue_actions.split()],
            [f"arn:{partition}:sqs:{region}:*:airflow-celery-*"],
        ),
        {
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey*", "kms:Encrypt"],
            "NotResource": f"arn:{partition}:kms:*:{account}:key/*",
            "Condition": {"StringLike": {"kms:ViaService": [f"sqs.{region}.amazonaws.com"]}},
        },
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(actions: Sequence[str], resources: Sequence[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}

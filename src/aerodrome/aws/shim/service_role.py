"""The service-linked role of MWAA: the identity that our service itself asks other services with (mwaa-spec 8)."""

from __future__ import annotations

import json

from .pinned import Ministack

SERVICE = "airflow.amazonaws.com"
_NAME = "AWSServiceRoleForAmazonMWAA"
_PATH = f"/aws-service-role/{SERVICE}/"
_POLICY_NAME = "AmazonMWAAServiceRolePolicy"
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": SERVICE}, "Action": "sts:AssumeRole"}],
}
# What we ask, which is less than MWAA's policy of that name allows.
_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": [
                "ec2:DescribeSubnets",
                "ec2:DescribeVpcEndpoints",
                "ec2:DescribeSecurityGroups",
                "ec2:GetManagedPrefixListEntries",
            ],
            "Resource": "*",
        },
    ],
}


def is_there(stack: Ministack, account: str, region: str) -> bool:
    """Whether the account has the role already."""
    with stack.responses.request_scope(account, region):
        return _NAME in stack.iam._roles


def ensure(stack: Ministack, account: str, region: str) -> str:
    """The role's ARN. As on AWS it is made in the account when the service first needs it."""
    iam = stack.iam
    with stack.responses.request_scope(account, region):
        if _NAME not in iam._roles:
            iam._create_role({"RoleName": [_NAME], "Path": [_PATH], "AssumeRolePolicyDocument": [json.dumps(_TRUST)]})
        role = iam._roles[_NAME]
        document = json.dumps(_POLICY)
        if role["InlinePolicies"].get(_POLICY_NAME) != document:
            iam._put_role_policy({"RoleName": [_NAME], "PolicyName": [_POLICY_NAME], "PolicyDocument": [document]})
        return str(role["Arn"])

"""What MWAA's documented policy of an execution role lets it do, and what is missed when a part of it isn't there."""

from __future__ import annotations

from typing import Any

import pytest

from aerodrome.cli.account import execution_policy
from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.execution_role import lacking, needs
from aerodrome.domain.principal import Principal

KEY = EnvironmentKey("aws", "100000000001", "eu-west-1", "demo")
LOGGED: dict[str, Any] = {"LoggingConfiguration": {"TaskLogs": {"Enabled": True}, "WorkerLogs": {"Enabled": False}}}
UNLOGGED: dict[str, Any] = {"LoggingConfiguration": {"TaskLogs": {"Enabled": False}}}
ENCRYPTED = {**LOGGED, "KmsKey": "arn:aws:kms:eu-west-1:100000000001:key/k"}


class Connection:
    """What `aerodrome env create` and the demo make a role's policy of."""

    partition, region = "aws", "eu-west-1"

    class installation:  # noqa: N801
        account = "100000000001"


def role(*statements: Any, boundary: Any = None) -> Principal:
    policy = {"Version": "2012-10-17", "Statement": list(statements)}
    return Principal("arn:aws:iam::100000000001:role/r", KEY.account, "aws", "AROA1", (policy,), boundary=boundary)


def sample(environment: str = "demo") -> list[Any]:
    return list(execution_policy(Connection(), environment, "b")["Statement"])  # type: ignore[arg-type]


def test_the_sample_policy_is_enough() -> None:
    assert lacking(role(*sample()), KEY, LOGGED) == []


@pytest.mark.parametrize("left_out", ["airflow:", "logs:Create", "logs:DescribeLogGroups", "cloudwatch:", "sqs:"])
def test_a_statement_that_is_missing_is_missed(left_out: str) -> None:
    rest = [each for each in sample() if not str(each["Action"][0]).startswith(left_out)]
    assert len(rest) == len(sample()) - 1
    missed = lacking(role(*rest), KEY, LOGGED)
    assert missed
    assert all(str(need).startswith(left_out.partition(":")[0]) for need in missed)


def test_a_policy_for_another_environment_is_not_enough() -> None:
    missed = {str(need) for need in lacking(role(*sample("other")), KEY, LOGGED)}
    assert "airflow:PublishMetrics on arn:aws:airflow:eu-west-1:100000000001:environment/demo" in missed
    group = "arn:aws:logs:eu-west-1:100000000001:log-group:airflow-demo-Task"
    assert f"logs:PutLogEvents on {group}" in missed


def test_logs_are_asked_about_where_there_are_some() -> None:
    assert not [need for need in needs(KEY, UNLOGGED) if need.action.startswith("logs:")]
    assert not [need for need in needs(KEY, {}) if need.action.startswith("logs:")]


@pytest.mark.parametrize("given", ["arn:aws:kms:eu-west-1:100000000001:key/k", "k"])
def test_a_key_of_the_customer_must_be_usable_through_sqs(given: str) -> None:
    members = {**LOGGED, "KmsKey": given}
    key = "arn:aws:kms:eu-west-1:100000000001:key/k"
    assert [need.action for need in lacking(role(*sample()), KEY, members)] == [
        "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey", "kms:Encrypt",
    ]  # fmt: skip
    allow = {
        "Effect": "Allow",
        "Action": ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey*", "kms:Encrypt"],
        "Resource": key,
        "Condition": {
            "StringEquals": {"kms:ViaService": ["sqs.eu-west-1.amazonaws.com", "s3.eu-west-1.amazonaws.com"]}
        },
    }
    assert lacking(role(*sample(), allow), KEY, members) == []


def test_a_deny_and_a_boundary_take_away() -> None:
    deny = {"Effect": "Deny", "Action": "sqs:*", "Resource": "*"}
    assert {need.action.partition(":")[0] for need in lacking(role(*sample(), deny), KEY, LOGGED)} == {"sqs"}
    narrow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    assert lacking(role(*sample(), boundary=narrow), KEY, LOGGED) == list(needs(KEY, LOGGED))

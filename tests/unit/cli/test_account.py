"""Names and policies of what is made for an environment when its user names nothing."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aerodrome.cli.account import bucket_name, execution_policy, role_name, trust_policy
from aerodrome.cli.connection import Connection, connect
from aerodrome.machineroom.installation import Installation

NAMES = st.from_regex(r"[a-zA-Z][0-9a-zA-Z\-_]{0,79}", fullmatch=True)
REGIONS = st.sampled_from(["us-east-1", "ap-northeast-1", "us-gov-west-1", "cn-northwest-1"])


@pytest.fixture
def connection(installation: Installation) -> Connection:
    return connect()


def test_plain_names(connection: Connection) -> None:
    assert bucket_name(connection, "demo") == "aerodrome-demo-100000000001"
    assert bucket_name(replace(connection, region="eu-west-1"), "demo") == "aerodrome-demo-100000000001-eu-west-1"
    assert role_name(connection, "demo") == "aerodrome-demo-us-east-1"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES, region=REGIONS)
def test_every_name_is_legal(connection: Connection, name: str, region: str) -> None:
    there = replace(connection, region=region)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", bucket_name(there, name))
    assert re.fullmatch(r"[\w+=,.@-]{1,64}", role_name(there, name))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAMES, min_size=2, max_size=2, unique=True), region=REGIONS)
def test_no_two_environments_share_a_name(connection: Connection, names: list[str], region: str) -> None:
    there = replace(connection, region=region)
    assert len({bucket_name(there, name) for name in names}) == 2
    assert len({role_name(there, name) for name in names}) == 2


def test_the_role_trusts_both_services_and_nobody_else() -> None:
    (statement,) = trust_policy()["Statement"]
    assert statement["Principal"] == {"Service": ["airflow.amazonaws.com", "airflow-env.amazonaws.com"]}


def test_the_policy_writes_no_object(connection: Connection) -> None:
    statements = execution_policy(connection, "demo", "b")["Statement"]
    assert "s3:Put" not in str([statement["Action"] for statement in statements if statement["Effect"] == "Allow"])


def test_the_partition_follows_the_region(connection: Connection) -> None:
    policy = str(execution_policy(replace(connection, region="cn-north-1"), "demo", "b"))
    assert "arn:aws-cn:s3:::b" in policy
    assert "arn:aws:" not in policy

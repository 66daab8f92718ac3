"""IAM's documented rules on conditions, one case each: what the reference says happens, and that it happens here.

Headings are those of IAM's user guide: "Condition operators", "Conditions with multiple context keys or values", "AWS
global condition context keys".
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from support.iam import ACCOUNT, GET, ROLE, SESSION, Case, allow, deny, given, is_allowed, when

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
TEAM = {"aws:ResourceTag/team": "data"}
IN, OUT = {"aws:SourceIp": "203.0.113.9"}, {"aws:SourceIp": "198.51.100.9"}
OFFICE = "203.0.113.0/24"
AT_NOON = {"aws:CurrentTime": NOON}
TWO = {"aws:TagKeys": ["team", "stage"]}
CASES = [
    # Condition operators
    when("StringEquals is exact", {"StringEquals": TEAM}, {"aws:ResourceTag/team": "Data"}, allowed=False),
    when("keys have no case", {"StringEquals": {"AWS:resourcetag/TEAM": "data"}}, TEAM, allowed=True),
    when(
        "values of one key are alternatives",
        {"StringEquals": {"aws:ResourceTag/team": ["hr", "data"]}},
        TEAM,
        allowed=True,
    ),
    when(
        "keys of one operator must all hold",
        {"StringEquals": {**TEAM, "aws:RequestedRegion": "eu-west-1"}},
        TEAM,
        allowed=False,
    ),
    when(
        "operators must all hold",
        {"StringEquals": TEAM, "IpAddress": {"aws:SourceIp": OFFICE}},
        {**TEAM, **OUT},
        allowed=False,
    ),
    when(
        "values of a negated operator must all differ",
        {"StringNotEquals": {"aws:ResourceTag/team": ["hr", "data"]}},
        TEAM,
        allowed=False,
    ),
    when("StringEquals takes * as a character", {"StringEquals": {"aws:ResourceTag/team": "d*"}}, TEAM, allowed=False),
    when("StringLike takes it as a wildcard", {"StringLike": {"aws:ResourceTag/team": "d*"}}, TEAM, allowed=True),
    when("StringNotLike is its opposite", {"StringNotLike": {"aws:ResourceTag/team": "d*"}}, TEAM, allowed=False),
    when("StringEqualsIgnoreCase", {"StringEqualsIgnoreCase": {"aws:ResourceTag/team": "DATA"}}, TEAM, allowed=True),
    when("a key that isn't there doesn't match", {"StringEquals": TEAM}, {}, allowed=False),
    when("a negated operator holds without its key", {"StringNotEquals": TEAM}, {}, allowed=True),
    when("IfExists holds without its key", {"StringEqualsIfExists": TEAM}, {}, allowed=True),
    when(
        "IfExists looks at a key that is there",
        {"StringEqualsIfExists": TEAM},
        {"aws:ResourceTag/team": "hr"},
        allowed=False,
    ),
    when(
        "IfExists goes with a set operator",
        {"ForAnyValue:StringEqualsIfExists": {"aws:TagKeys": "team"}},
        {},
        allowed=True,
    ),
    when("Null: true wants the key away", {"Null": {"aws:ResourceTag/team": "true"}}, {}, allowed=True),
    when("Null: false wants it there", {"Null": {"aws:ResourceTag/team": "false"}}, {}, allowed=False),
    when(
        "NumericLessThanEquals", {"NumericLessThanEquals": {"aws:EpochTime": "10"}}, {"aws:EpochTime": 10}, allowed=True
    ),
    when(
        "what is no number can't be compared",
        {"NumericNotEquals": {"aws:EpochTime": "1_0"}},
        {"aws:EpochTime": 9},
        allowed=False,
    ),
    when(
        "dates are compared as moments",
        {"DateGreaterThan": {"aws:CurrentTime": "2026-03-04T12:30:00+01:00"}},
        AT_NOON,
        allowed=True,
    ),
    when("a time that is over", {"DateLessThan": {"aws:CurrentTime": "2026-03-04T12:00:00Z"}}, AT_NOON, allowed=False),
    when("Bool", {"Bool": {"aws:SecureTransport": "true"}}, {"aws:SecureTransport": False}, allowed=False),
    when(
        "temporary credentials came without a second factor",
        {"Bool": {"aws:MultiFactorAuthPresent": "true"}},
        {},
        allowed=False,
        arn=SESSION,
    ),
    when("and say so", {"Bool": {"aws:MultiFactorAuthPresent": "false"}}, {}, allowed=True, arn=SESSION),
    when("an address in the network", {"IpAddress": {"aws:SourceIp": OFFICE}}, IN, allowed=True),
    when("an address outside of it", {"IpAddress": {"aws:SourceIp": OFFICE}}, OUT, allowed=False),
    when("NotIpAddress", {"NotIpAddress": {"aws:SourceIp": OFFICE}}, IN, allowed=False),
    when(
        "IPv6 networks", {"IpAddress": {"aws:SourceIp": "2001:db8::/32"}}, {"aws:SourceIp": "2001:db8::7"}, allowed=True
    ),
    when(
        "ArnLike checks part by part", {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/team/*"}}, {}, allowed=True
    ),
    when(
        "and its * doesn't reach over a colon",
        {"ArnLike": {"aws:PrincipalArn": "arn:aws:*:user/team/ann:*"}},
        {},
        allowed=False,
    ),
    when(
        "ArnEquals takes wildcards too", {"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}, {}, allowed=True
    ),
    when(
        "aws:PrincipalArn of a session is its role",
        {"ArnEquals": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/deploy"}},
        {},
        allowed=True,
        arn=SESSION,
    ),
    when("aws:PrincipalType", {"StringEquals": {"aws:PrincipalType": "AssumedRole"}}, {}, allowed=True, arn=SESSION),
    when("aws:userid", {"StringLike": {"aws:userid": "AIDA*"}}, {}, allowed=True),
    when("aws:ResourceAccount is the resource's", {"StringEquals": {"aws:ResourceAccount": ACCOUNT}}, {}, allowed=True),
    when(
        "the caller can't say who it is",
        {"StringEquals": {"aws:username": "boss"}},
        {"aws:username": "boss"},
        allowed=False,
    ),
    # Conditions with several values
    when(
        "ForAllValues: all of the request's are among them",
        {"ForAllValues:StringEquals": {"aws:TagKeys": ["team", "stage", "x"]}},
        TWO,
        allowed=True,
    ),
    when("ForAllValues: one is not", {"ForAllValues:StringEquals": {"aws:TagKeys": "team"}}, TWO, allowed=False),
    when(
        "ForAllValues holds without the key", {"ForAllValues:StringEquals": {"aws:TagKeys": "team"}}, {}, allowed=True
    ),
    when(
        "ForAllValues holds of an empty text",
        {"ForAllValues:StringEquals": {"aws:TagKeys": "team"}},
        {"aws:TagKeys": [""]},
        allowed=True,
    ),
    when(
        "with Null: false it doesn't",
        {"ForAllValues:StringEquals": {"aws:TagKeys": "team"}, "Null": {"aws:TagKeys": "false"}},
        {},
        allowed=False,
    ),
    when(
        "ForAnyValue: one is among them",
        {"ForAnyValue:StringEquals": {"aws:TagKeys": ["stage", "x"]}},
        TWO,
        allowed=True,
    ),
    when("ForAnyValue: none is", {"ForAnyValue:StringEquals": {"aws:TagKeys": ["x"]}}, TWO, allowed=False),
    when(
        "ForAnyValue doesn't hold without the key",
        {"ForAnyValue:StringEquals": {"aws:TagKeys": "team"}},
        {},
        allowed=False,
    ),
    given(
        "tags that must not be touched",
        allow(GET, "*"),
        deny(GET, "*", {"ForAnyValue:StringEquals": {"aws:TagKeys": "stage"}}),
        allowed=False,
        context=TWO,
    ),
    # Keys of networks that no request here has
    when("no call comes through a VPC endpoint", {"StringEquals": {"aws:SourceVpce": "vpce-1"}}, IN, allowed=False),
    when("nor from a VPC", {"StringEquals": {"aws:SourceVpc": "vpc-1"}}, IN, allowed=False),
    given(
        "whoever denies all but a VPC denies all",
        allow(),
        deny(condition={"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}),
        allowed=False,
        context=IN,
    ),
    when(
        "MWAA's own keys for DAGs are not there", {"StringEquals": {"airflow:ResourceType": "Dag"}}, {}, allowed=False
    ),
    # iam:PassRole
    given(
        "passing a role to the service",
        allow("iam:PassRole", ROLE, {"StringEquals": {"iam:PassedToService": "airflow.amazonaws.com"}}),
        allowed=True,
        action="iam:PassRole",
        resource=ROLE,
        context={"iam:PassedToService": "airflow.amazonaws.com"},
    ),
    given(
        "passing it to another",
        allow("iam:PassRole", ROLE, {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}),
        allowed=False,
        action="iam:PassRole",
        resource=ROLE,
        context={"iam:PassedToService": "airflow.amazonaws.com"},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_documented_rule(case: Case) -> None:
    assert is_allowed(case) is case.allowed


def test_every_rule_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)

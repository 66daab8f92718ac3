"""Whom an execution role's trust policy lets in, rule by rule (mwaa-spec 8; IAM's reference of trust policies)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from aerodrome.domain.service_trust import SERVICES, objection

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROLE = "arn:aws:iam::100000000001:role/mwaa"
OURS = "arn:aws:airflow:eu-west-1:100000000001:environment/demo"
MAIN, ENV = SERVICES
BOTH = {"Service": [MAIN, ENV]}


def allow(principal: Any = BOTH, **changes: Any) -> dict[str, Any]:
    found = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **changes}
    return {name: value for name, value in found.items() if value is not ...}


def when(**condition: Any) -> dict[str, Any]:
    """An Allow under conditions; `_` stands for the colon of a key."""
    return allow(Condition={op: {k.replace("_", ":"): v for k, v in keys.items()} for op, keys in condition.items()})


def deny(principal: Any = BOTH, **changes: Any) -> dict[str, Any]:
    return allow(principal, Effect="Deny", **changes)


def refused(*statements: Any, **document: Any) -> str | None:
    trust = {"Version": "2012-10-17", "Statement": list(statements), **document}
    return objection(trust, ROLE, OURS, NOW)


TRUSTING: dict[str, list[Any]] = {
    "both services": [allow()],
    "a statement for each": [allow({"Service": MAIN}), allow({"Service": ENV})],
    "among others": [allow({"Service": ["ec2.amazonaws.com", MAIN, ENV], "AWS": "100000000001"})],
    "everybody": [allow("*")],
    "everybody, the other way to say it": [allow({"AWS": "*"})],
    "an action with a wildcard": [allow(Action="sts:*")],
    "several actions": [allow(Action=["sts:TagSession", "sts:AssumeRole"])],
    "an action in another case": [allow(Action="STS:assumerole")],
    "of this account": [when(StringEquals={"aws_SourceAccount": "100000000001"})],
    "of this environment": [when(ArnEquals={"aws_SourceArn": OURS})],
    "of any environment of the account": [
        when(ArnLike={"aws_SourceArn": "arn:aws:airflow:*:100000000001:environment/*"})
    ],
    "a condition's key in another case": [when(StringLike={"AWS_sourcearn": OURS})],
    "not of somebody else": [when(StringNotEquals={"aws_SourceAccount": "200000000002"})],
    "asked for by a service": [when(Bool={"aws_PrincipalIsAWSService": "true"})],
    "before a date": [when(DateLessThan={"aws_CurrentTime": "2027-01-01T00:00:00Z"})],
    "in a region": [when(StringEquals={"aws_RequestedRegion": "eu-west-1"})],
    "a Deny for others": [allow(), deny({"Service": "ec2.amazonaws.com"})],
    "a Deny for another account's environments": [
        allow(),
        deny("*", Condition={"StringNotEquals": {"aws:SourceAccount": "100000000001"}}),
    ],
    "a Deny of another action": [allow(), deny(Action="sts:TagSession")],
}

UNTRUSTING: dict[str, list[Any]] = {
    "nobody": [],
    "another service": [allow({"Service": "ec2.amazonaws.com"})],
    "the account": [allow({"AWS": "arn:aws:iam::100000000001:root"})],
    "a service under another kind": [allow({"AWS": [MAIN, ENV]})],
    "every service, which IAM has no word for": [allow({"Service": "*"})],
    "a name as text": [allow(MAIN)],
    "a part of the name": [allow({"Service": "airflow"})],
    "no principal": [allow(...)],
    "another action": [allow(Action="sts:TagSession")],
    "no action": [allow(Action=...)],
    "all actions but this": [allow(Action=..., NotAction="sts:AssumeRole")],
    "another account's environments": [when(StringEquals={"aws_SourceAccount": "200000000002"})],
    "another environment": [when(ArnLike={"aws_SourceArn": OURS.replace("demo", "other")})],
    "a key that isn't there": [when(StringEquals={"sts_ExternalId": "secret"})],
    "a condition that can't be read": [when(StringSounds={"aws_SourceArn": OURS})],
    "after a date": [when(DateGreaterThan={"aws_CurrentTime": "2027-01-01T00:00:00Z"})],
    "with an element that IAM hasn't": [allow(Whim="x")],
    "an effect in another case": [allow(Effect="allow")],
    "denied": [allow(), deny()],
    "denied before": [deny(), allow()],
    "denied to everybody": [allow(), deny("*")],
    "denied to all but somebody": [allow(), {**deny(...), "NotPrincipal": {"AWS": ROLE}}],
    "denied to whom can't be read": [allow(), deny(5)],
    "denied for this environment": [allow(), deny(Condition={"ArnLike": {"aws:SourceArn": OURS}})],
    "denied under what can't be read": [allow(), deny(Condition={"StringSounds": {"aws:SourceArn": "x"}})],
}


@pytest.mark.parametrize("name", TRUSTING)
def test_a_role_that_trusts_the_service(name: str) -> None:
    assert refused(*TRUSTING[name]) is None


@pytest.mark.parametrize("name", UNTRUSTING)
def test_a_role_that_does_not(name: str) -> None:
    told = refused(*UNTRUSTING[name])
    assert told is not None
    assert f"The role {ROLE} doesn't trust {MAIN} and {ENV} for {OURS}." in told


@pytest.mark.parametrize(("trusted", "missing"), [(MAIN, ENV), (ENV, MAIN)])
def test_the_service_that_is_missing_is_named_and_what_it_says_to_add_helps(trusted: str, missing: str) -> None:
    given = allow({"Service": trusted})
    told = refused(given)
    assert told is not None
    assert f"doesn't trust {missing} for" in told
    to_add = json.loads(told[told.index("{") :])
    assert refused(given, to_add) is None
    assert objection({"Version": "2012-10-17", "Statement": [given, to_add]}, ROLE, OURS + "2", NOW) is not None


def test_where_a_deny_is_why_adding_something_is_not_the_advice() -> None:
    told = refused(allow(), deny({"Service": ENV}))
    assert told is not None
    assert "A Deny in its trust policy says so" in told
    assert "Add to" not in told


@pytest.mark.parametrize(
    "trust", [None, "text", [], {}, {"Statement": "x"}, {"Version": "1999-01-01", "Statement": allow()}]
)
def test_what_is_no_policy_trusts_nobody(trust: Any) -> None:
    assert objection(trust, ROLE, OURS, NOW) is not None


def test_one_statement_needs_no_list() -> None:
    assert objection({"Version": "2012-10-17", "Statement": allow()}, ROLE, OURS, NOW) is None
    assert objection({"Statement": allow()}, ROLE, OURS, NOW) is None

"""Policy documents are refused in IAM's words before anything is stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aerodrome.domain.policy_documents import identity_policy, trust_policy
from aerodrome.errors import ApiError

GOOD = {"Effect": "Allow", "Action": "airflow:GetEnvironment", "Resource": "*"}
TRUST = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "arn:aws:iam::100000000001:root"}}


def document(*statements: Any, **more: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **more})


def changed(base: dict[str, Any], **changes: Any) -> str:
    """The document with members of its statement replaced; None takes one away."""
    return document({name: value for name, value in {**base, **changes}.items() if value is not None})


@pytest.mark.parametrize(
    "text",
    [
        changed(GOOD),
        json.dumps({"Statement": GOOD}),
        changed(GOOD, Sid="One1"),
        changed(GOOD, Effect="Deny"),
        changed(GOOD, Action="*"),
        changed(GOOD, Action=["airflow:*", "s3:Get?bject*"]),
        changed(GOOD, Action=None, NotAction="iam:*"),
        changed(GOOD, Resource=None, NotResource=["arn:aws:s3:::x/*"]),
        changed(GOOD, Resource="arn:aws:airflow:*:*:environment/${aws:username}-*"),
        changed(GOOD, Resource="arn:aws:airflow:*"),
        changed(GOOD, Condition={"StringLike": {"aws:PrincipalTag/team": ["a*", "b"]}}),
        changed(GOOD, Condition={"ForAllValues:StringEqualsIfExists": {"aws:TagKeys": "a"}, "Null": {"a:b": True}}),
        document(GOOD, {**GOOD, "Effect": "Deny"}, Id="x"),
    ],
)
def test_what_is_a_policy(text: str) -> None:
    assert identity_policy(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not in the valid JSON format"),
        ("{", "not in the valid JSON format"),
        ("[" * 100_000, "not in the valid JSON format"),
        ('{"Statement": [], "Statement": []}', "not in the valid JSON format"),
        ('{"Version": NaN}', "not in the valid JSON format"),
        ("[]", "Syntax errors"),
        ('"text"', "Syntax errors"),
        ("{}", "Missing required field Statement"),
        (document(), "Missing required field Statement"),
        (document("text"), "Missing required field Statement"),
        (document(GOOD, Version="2011-01-01"), "version 2012-10-17 or greater"),
        (document(GOOD, Version=7), "version 2012-10-17 or greater"),
        (document(GOOD, Comment="x"), "Unknown field Comment"),
        (changed(GOOD, Efect="Allow"), "Unknown field Efect"),
        (changed(GOOD, Effect=None), "Missing required field Effect"),
        (changed(GOOD, Effect="allow"), "Missing required field Effect"),
        (changed(GOOD, Action=None), "Missing required field Action"),
        (changed(GOOD, Action=[]), "must contain actions"),
        (changed(GOOD, Action=7), "Syntax errors"),
        (changed(GOOD, Action=[["x"]]), "Syntax errors"),
        (changed(GOOD, Action="GetEnvironment"), "prefaced by a vendor"),
        (changed(GOOD, Action="airflow:Get Environment"), "not valid"),
        (changed(GOOD, Action="air*flow:x"), "not valid"),
        (changed(GOOD, NotAction="airflow:*"), "both Action and NotAction"),
        (changed(GOOD, Resource=None), "Missing required field Resource"),
        (changed(GOOD, Resource=[]), "must contain resources"),
        (changed(GOOD, Resource="demo"), 'must be in ARN format or "*"'),
        (changed(GOOD, Resource="*demo"), 'must be in ARN format or "*"'),
        (changed(GOOD, Resource="arn:aws:airflow"), 'must be in ARN format or "*"'),
        (changed(GOOD, NotResource="*"), "both Resource and NotResource"),
        (changed(GOOD, Principal="*"), "should not specify a principal"),
        (changed(GOOD, NotPrincipal="*"), "should not specify a principal"),
        (changed(GOOD, Condition=[]), "Condition must map operators"),
        (changed(GOOD, Condition={"StringEquals": {}}), "Condition must map operators"),
        (changed(GOOD, Condition={"StringEqual": {"a:b": "c"}}), "Unknown operator or value: StringEqual"),
        (changed(GOOD, Condition={"ForSome:StringEquals": {"a:b": "c"}}), "Unknown operator or value"),
        (changed(GOOD, Condition={"Null": {"a:b": "maybe"}}), "Unknown operator or value: Null"),
        (changed(GOOD, Condition={"StringEquals": {"a:b": {}}}), "Unknown operator or value"),
        (changed(GOOD, Condition={"StringEquals": {"team": "c"}}), "prefaced by a vendor"),
        (changed(GOOD, Sid="a b"), "alpha-numeric"),
        (document({**GOOD, "Sid": "a"}, {**GOOD, "Sid": "a"}), "must be unique"),
    ],
)
def test_what_is_none(text: str, words: str) -> None:
    with pytest.raises(ApiError, match=words.replace("*", r"\*")) as refused:
        identity_policy(text)
    assert (refused.value.code, refused.value.status) == ("MalformedPolicyDocument", 400)


@pytest.mark.parametrize(
    "text",
    [
        changed(TRUST),
        changed(TRUST, Principal="*"),
        changed(TRUST, Principal={"AWS": ["100000000001", "arn:aws-cn:sts::100000000001:assumed-role/r/s"]}),
        changed(TRUST, Principal={"Service": "airflow-env.amazonaws.com", "AWS": "*"}),
        changed(TRUST, Action=["sts:*"], Condition={"StringEquals": {"sts:ExternalId": "x"}}),
    ],
)
def test_what_is_a_trust_policy(text: str) -> None:
    assert trust_policy(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (changed(TRUST, Principal=None), "Missing required field Principal"),
        (changed(TRUST, Principal=None, NotPrincipal="*"), "prohibited field NotPrincipal"),
        (changed(TRUST, Resource="*"), "prohibited field Resource"),
        (changed(TRUST, Principal={}), "Principal must be"),
        (changed(TRUST, Principal={"User": "a"}), "Principal must be"),
        (changed(TRUST, Principal={"AWS": []}), 'Invalid principal in policy: "AWS":""'),
        (changed(TRUST, Principal={"AWS": "alice"}), 'Invalid principal in policy: "AWS":"alice"'),
        (changed(TRUST, Principal={"AWS": "arn:aws:iam::1:root"}), "Invalid principal"),
        (changed(TRUST, Action="s3:GetObject"), "may only specify STS AssumeRole actions"),
        (changed(GOOD), "prohibited field Resource"),
    ],
)
def test_what_is_no_trust_policy(text: str, words: str) -> None:
    with pytest.raises(ApiError, match=words) as refused:
        trust_policy(text)
    assert refused.value.code == "MalformedPolicyDocument"


def test_white_space_counts_for_nothing() -> None:
    text = json.dumps(json.loads(changed(GOOD)), indent=40)
    length = len(json.dumps(json.loads(text), separators=(",", ":")))
    assert identity_policy(text, length)
    with pytest.raises(ApiError, match=f"PolicySize: {length - 1}") as refused:
        identity_policy(text, length - 1)
    assert (refused.value.code, refused.value.status) == ("LimitExceeded", 409)

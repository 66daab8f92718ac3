"""IAM's semantics, as tables: who may do what, and what the refusal says."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.policy import Decision, authorise, evaluate, principal_context, request_context, roles_allowed
from aerodrome.domain.principal import Principal, PrincipalReference
from aerodrome.errors import ApiError

ACTION = "airflow:GetEnvironment"
ARN = "arn:aws:airflow:eu-west-1:123456789012:environment/sales-prod"
ALLOW_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
NOTHING: dict[str, Any] = {"Version": "2012-10-17", "Statement": []}


def policy(*statements: dict[str, Any], version: str | None = "2012-10-17") -> dict[str, Any]:
    return {"Statement": list(statements), **({"Version": version} if version else {})}


def statement(effect: str = "Allow", **elements: Any) -> dict[str, Any]:
    given_elements = {"Effect": effect, **elements}
    if "NotAction" not in elements:
        given_elements.setdefault("Action", "airflow:*")
    if "NotResource" not in elements:
        given_elements.setdefault("Resource", "*")
    return given_elements


def allowed(*statements: dict[str, Any], resource: str = ARN, context: dict[str, Any] | None = None) -> bool:
    return evaluate([policy(*statements)], ACTION, resource, context).allowed


def denied(denial: dict[str, Any], resource: str = ARN, context: dict[str, Any] | None = None) -> bool:
    return not evaluate([ALLOW_ALL, policy(denial)], ACTION, resource, context).allowed


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*", True),
        ("airflow:*", True),
        ("airflow:GetEnvironment", True),
        ("AIRFLOW:getenvironment", True),
        ("airflow:Get*", True),
        ("air*:*Env?ronment", True),
        ("*:*", True),
        ("airflow:GetEnvironment?", False),
        ("airflow:List*", False),
        ("s3:*", False),
        ("airflow:", False),
        (["s3:*", "airflow:Get*"], True),
        (["s3:*"], False),
    ],
)
def test_actions(pattern: object, matches: bool) -> None:
    assert allowed(statement(Action=pattern)) is matches
    assert denied(statement("Deny", Action=pattern)) is matches
    assert allowed(statement(NotAction=pattern)) is not matches
    assert denied(statement("Deny", NotAction=pattern)) is not matches


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*", True),
        (ARN, True),
        ("arn:aws:airflow:eu-west-1:123456789012:environment/sales-*", True),
        ("arn:aws:airflow:eu-west-1:123456789012:environment/sales-pro?", True),
        ("arn:*:airflow:*:*:environment/*", True),
        ("arn:aws:airflow:eu-*:123456789012:*", True),
        ("arn:aws:airflow:*", True),
        ("arn:aws:air*", True),
        ("arn:aws:airflow:eu-west-1:123456789012:environment/SALES-prod", False),
        ("arn:aws:airflow:eu-west-1:123456789012:environment/sales", False),
        ("arn:aws:airflow:us-east-1:123456789012:environment/*", False),
        ("arn:aws:airflow:*:environment/sales-prod", True),  # a wildcard that ends a part reaches over colons
        ("arn:aws:airflow:*:environment/sales-prod:x", False),
        ("arn:aws:airflow:*:eu-west-1:123456789012:environment/sales-prod", False),
        ("arn:aws:airflow:*st:environment/*:x", False),  # and one within a part doesn't
        ("arn:*:environment/*", True),
        ("arn:aws-cn:airflow:*:*:*", False),
        ([], None),
        (["arn:aws:s3:::b", ARN], True),
        ("environment/sales-prod", None),
        ("arn:aws:airflow:eu-west-1", None),
        (None, None),
        ([1], None),
    ],
)
def test_resources(pattern: object, matches: bool | None) -> None:
    """None: no ARN pattern. It never allows, under Resource or NotResource, and it denies."""
    assert allowed(statement(Resource=pattern)) is (matches is True)
    assert denied(statement("Deny", Resource=pattern)) is (matches is not False)
    assert allowed(statement(NotResource=pattern)) is (matches is False)
    assert denied(statement("Deny", NotResource=pattern)) is (matches is not True)


def test_what_has_no_resource_needs_the_star() -> None:
    assert evaluate([ALLOW_ALL], "airflow:ListEnvironments", "*").allowed
    narrow = policy(statement(Resource="arn:aws:airflow:*:*:*"))
    assert not evaluate([narrow], "airflow:ListEnvironments", "*").allowed


USER = {"aws:username": "ann", "aws:PrincipalTag/team": "a*", "aws:userid": "AROA:sess"}


@pytest.mark.parametrize(
    ("pattern", "resource", "matches"),
    [
        ("arn:aws:s3:::home/${aws:username}/*", "arn:aws:s3:::home/ann/x", True),
        ("arn:aws:s3:::home/${AWS:UserName}/*", "arn:aws:s3:::home/ann/x", True),
        ("arn:aws:s3:::home/${aws:username}/*", "arn:aws:s3:::home/bob/x", False),
        ("arn:aws:s3:::${aws:PrincipalTag/team}", "arn:aws:s3:::a*", True),
        ("arn:aws:s3:::${aws:PrincipalTag/team}", "arn:aws:s3:::abc", False),  # what is substituted is literal
        ("arn:aws:s3:::${aws:userid}", "arn:aws:s3:::AROA:sess", True),
        ("arn:aws:${aws:userid}:::x", "arn:aws:AROA:sess:::x", False),  # and adds no part to an ARN
        ("arn:aws:s3:::${aws:missing}", "arn:aws:s3:::", False),
        ("arn:aws:s3:::${aws:missing, 'all'}/x", "arn:aws:s3:::all/x", True),
        ("arn:aws:s3:::${aws:username, 'all'}/x", "arn:aws:s3:::ann/x", True),
        ("arn:aws:s3:::a${*}b${?}${$}", "arn:aws:s3:::a*b?$", True),
        ("arn:aws:s3:::a${*}", "arn:aws:s3:::ab", False),
        ("arn:aws:s3:::a${open", "arn:aws:s3:::a${open", True),
    ],
)
def test_policy_variables(pattern: str, resource: str, matches: bool) -> None:
    assert allowed(statement(Resource=pattern), resource=resource, context=USER) is matches
    assert denied(statement("Deny", Resource=pattern), resource=resource, context=USER) is matches


def test_variables_are_plain_text_in_the_old_policy_language() -> None:
    for version in (None, "2008-10-17"):
        old = policy(statement(Resource="arn:aws:s3:::${aws:username}"), version=version)
        assert not evaluate([old], ACTION, "arn:aws:s3:::ann", USER).allowed
        assert evaluate([old], ACTION, "arn:aws:s3:::${aws:username}", USER).allowed


def test_a_variable_without_a_value_under_not_resource_never_allows_and_denies() -> None:
    assert not allowed(statement(NotResource="arn:aws:s3:::${aws:missing}"))
    assert denied(statement("Deny", NotResource="arn:aws:s3:::${aws:missing}"))


NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
CONTEXT: dict[str, Any] = {
    "aws:RequestTag/env": "Prod",
    "aws:TagKeys": ["a", "b"],
    "aws:SourceIp": "203.0.113.7",
    "aws:CurrentTime": NOON,
    "aws:EpochTime": int(NOON.timestamp()),
    "aws:SecureTransport": True,
    "aws:MultiFactorAuthAge": 100,
    "aws:username": "ann",
    "aws:PrincipalArn": "arn:aws:iam::123456789012:role/team/x",
    "my:Owner": "ann",
    "my:Blob": "aGk=",
    "my:Empty": [],
    "my:None": None,
}
TAG, KEYS, IP, NOW = "aws:RequestTag/env", "aws:TagKeys", "aws:SourceIp", "aws:CurrentTime"
AGE, TLS, WHO, GONE = "aws:MultiFactorAuthAge", "aws:SecureTransport", "aws:PrincipalArn", "my:Gone"
CONDITIONS: list[tuple[str, str, object, bool | None]] = [
    ("StringEquals", TAG, "Prod", True),
    ("stringequals", TAG.upper(), "Prod", True),
    ("StringEquals", TAG, "prod", False),
    ("StringEquals", TAG, ["Dev", "Prod"], True),
    ("StringEquals", TAG, "Pro*", False),
    ("StringEquals", "my:Owner", "${aws:username}", True),
    ("StringEquals", TAG, "${my:Gone}", False),
    ("StringEquals", GONE, "x", False),
    ("StringEquals", "my:Empty", "x", False),
    ("StringEquals", "my:None", "x", False),
    ("StringNotEquals", TAG, "Prod", False),
    ("StringNotEquals", TAG, ["Dev", "Prod"], False),
    ("StringNotEquals", TAG, ["Dev", "Test"], True),
    ("StringNotEquals", GONE, "x", True),
    ("StringNotEquals", TAG, "${my:Gone}", None),
    ("StringEqualsIgnoreCase", TAG, "PROD", True),
    ("StringNotEqualsIgnoreCase", TAG, "PROD", False),
    ("StringLike", TAG, "P?o*", True),
    ("StringLike", TAG, ["x", "p*"], False),
    ("StringNotLike", TAG, "P*", False),
    ("StringNotLike", GONE, "P*", True),
    ("NumericEquals", AGE, "100", True),
    ("NumericEquals", AGE, 100.0, True),
    ("NumericNotEquals", AGE, 100, False),
    ("NumericLessThan", AGE, "100", False),
    ("NumericLessThanEquals", AGE, "100", True),
    ("NumericGreaterThan", AGE, "99.5", True),
    ("NumericGreaterThanEquals", AGE, "101", False),
    ("NumericLessThan", AGE, "many", None),
    ("NumericLessThan", AGE, "NaN", None),
    ("NumericLessThan", GONE, "5", False),
    ("NumericLessThan", TAG, "5", None),
    ("DateEquals", NOW, "2026-03-04T12:00:00Z", True),
    ("DateNotEquals", NOW, "2026-03-04T12:00:00Z", False),
    ("DateLessThan", NOW, "2026-03-04T13:00:00+02:00", False),
    ("DateLessThanEquals", NOW, "2026-03-04T12:00:00Z", True),
    ("DateGreaterThan", NOW, "2026-03-04", True),
    ("DateGreaterThanEquals", NOW, int(NOON.timestamp()), True),
    ("DateGreaterThan", "aws:EpochTime", "2026-03-04T11:59:59Z", True),
    ("DateGreaterThan", NOW, "yesterday", None),
    ("Bool", TLS, "true", True),
    ("Bool", TLS, True, True),
    ("Bool", TLS, "false", False),
    ("Bool", TLS, "yes", None),
    ("Bool", GONE, "false", False),
    ("BinaryEquals", "my:Blob", "aGk=", True),
    ("BinaryEquals", "my:Blob", "aGo=", False),
    ("BinaryEquals", "my:Blob", "%", None),
    ("IpAddress", IP, "203.0.113.0/24", True),
    ("IpAddress", IP, ["10.0.0.0/8", "203.0.113.7"], True),
    ("IpAddress", IP, "10.0.0.0/8", False),
    ("IpAddress", IP, "2001:db8::/32", False),
    ("IpAddress", IP, "home", None),
    ("NotIpAddress", IP, "203.0.113.0/24", False),
    ("NotIpAddress", IP, "10.0.0.0/8", True),
    ("NotIpAddress", GONE, "10.0.0.0/8", True),
    ("ArnEquals", WHO, "arn:aws:iam::123456789012:role/team/*", True),
    ("ArnLike", WHO, "arn:aws:iam::*:role/team/?", True),
    ("ArnLike", WHO, "arn:aws:iam::*:x", False),
    ("ArnLike", WHO, "*", True),
    ("ArnLike", WHO, "role/team", None),
    ("ArnNotLike", WHO, "arn:aws:iam::*:role/*", False),
    ("ArnNotEquals", WHO, "arn:aws:iam::*:user/*", True),
    ("Null", GONE, "true", True),
    ("Null", GONE, "false", False),
    ("Null", TAG, "true", False),
    ("Null", TAG, False, True),
    ("Null", "my:Empty", True, True),
    ("Null", TAG, "maybe", None),
    ("StringEqualsIfExists", GONE, "x", True),
    ("StringEqualsIfExists", TAG, "x", False),
    ("StringNotEqualsIfExists", GONE, "x", True),
    ("BoolIfExists", GONE, "true", True),
    ("NumericLessThanIfExists", GONE, "5", True),
    ("ForAllValues:StringEquals", KEYS, ["a", "b", "c"], True),
    ("ForAllValues:StringEquals", KEYS, ["a"], False),
    ("ForAllValues:StringEquals", GONE, ["a"], True),
    ("ForAllValues:StringNotEquals", KEYS, ["c"], True),
    ("ForAllValues:StringNotEquals", KEYS, ["a"], False),
    ("ForAnyValue:StringEquals", KEYS, ["b", "z"], True),
    ("ForAnyValue:StringEquals", KEYS, ["z"], False),
    ("ForAnyValue:StringEquals", GONE, ["z"], False),
    ("ForAnyValue:StringNotEquals", KEYS, ["a"], True),
    ("ForAnyValue:StringNotEquals", KEYS, ["a", "b"], False),
    ("ForAnyValue:StringLike", KEYS, "*", True),
    ("ForAnyValue:StringEquals", TAG, "Prod", True),
    ("foranyvalue:stringlike", KEYS, "A", False),
    ("StringEquals", KEYS, ["a", "b"], None),
    ("StringNotEquals", KEYS, ["z"], None),
    ("ForSomeValues:StringEquals", KEYS, "a", None),
    ("ForAllValues:Null", KEYS, "true", None),
    ("StringMatches", TAG, "Prod", None),
    ("StringEquals", TAG, [], None),
    ("StringEquals", TAG, None, None),
    ("StringEquals", TAG, {"a": "b"}, None),
    ("StringEquals", TAG, [["Prod"]], None),
]


@pytest.mark.parametrize(("operator", "key", "value", "holds"), CONDITIONS)
def test_conditions(operator: str, key: str, value: object, holds: bool | None) -> None:
    """None: can't be told, which never allows and always denies."""
    condition = {operator: {key: value}}
    assert allowed(statement(Condition=condition), context=CONTEXT) is (holds is True)
    assert denied(statement("Deny", Condition=condition), context=CONTEXT) is (holds is not False)


def test_all_operators_and_keys_of_a_condition_must_hold() -> None:
    good = {"StringEquals": {TAG: "Prod", "my:Owner": "ann"}, "Bool": {TLS: "true"}}
    assert allowed(statement(Condition=good), context=CONTEXT)
    assert not allowed(statement(Condition={**good, "Null": {TAG: "true"}}), context=CONTEXT)
    assert not allowed(statement(Condition={"StringEquals": {TAG: "Prod", "my:Owner": "bob"}}), context=CONTEXT)
    assert allowed(statement(Condition={}), context=CONTEXT)


def test_an_ipv4_address_in_ipv6_clothes_is_the_same_address() -> None:
    condition = {"IpAddress": {IP: "203.0.113.0/24"}}
    assert allowed(statement(Condition=condition), context={IP: "::ffff:203.0.113.7"})
    assert not allowed(statement(Condition=condition), context={IP: "::ffff:198.51.100.7"})


def test_tags_that_differ_in_case_alone_are_not_told_apart_in_the_callers_favour() -> None:
    condition = {"StringEquals": {"aws:ResourceTag/team": "a"}}
    tags = {"aws:ResourceTag/team": "b", "aws:ResourceTag/Team": "a"}
    assert not allowed(statement(Condition=condition), context=tags)
    assert denied(statement("Deny", Condition=condition), context=tags)


@pytest.mark.parametrize(
    "broken",
    [
        {"Effect": "allow"},
        {"Effect": "ALLOW"},
        {"Effect": None},
        {"Effect": ["Allow"]},
        {"Principal": "*"},
        {"NotAction": "s3:*"},
        {"NotResource": "arn:aws:s3:::*"},
        {"Action": None},
        {"Action": []},
        {"Action": "airflow"},
        {"Action": {"a": "*"}},
        {"Resource": ""},
        {"Condition": "x"},
        {"Condition": None},
        {"Condition": {"StringEquals": "x"}},
        {"Conditions": {}},
    ],
)
def test_a_malformed_statement_never_allows(broken: dict[str, Any]) -> None:
    assert not allowed({"Effect": "Allow", "Action": "*", "Resource": "*", **broken})


@pytest.mark.parametrize("missing", ["Effect", "Action", "Resource"])
def test_a_statement_without_a_part_never_allows(missing: str) -> None:
    whole = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    assert allowed(whole)
    assert not allowed({name: value for name, value in whole.items() if name != missing})


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"Statement": None},
        {"Statement": "x"},
        {"Statement": ["x"]},
        [],
        "x",
        None,
        {**ALLOW_ALL, "Version": "2026"},
    ],
)
def test_a_malformed_policy_never_allows(document: Any) -> None:
    assert not evaluate([document], ACTION, ARN).allowed
    assert not evaluate([ALLOW_ALL], ACTION, ARN, boundary=document or {}).allowed


def test_a_single_statement_needs_no_list() -> None:
    assert evaluate([{"Statement": statement()}], ACTION, ARN).allowed


DENY = policy(statement("Deny"))
NO = "because no {} allows the airflow:GetEnvironment action"
EXPLICIT = "with an explicit deny in {}"


@pytest.mark.parametrize(
    ("policies", "boundary", "session", "reason"),
    [
        ([ALLOW_ALL], None, None, None),
        ([], None, None, NO.format("identity-based policy")),
        ([NOTHING], None, None, NO.format("identity-based policy")),
        ([ALLOW_ALL, DENY], None, None, EXPLICIT.format("an identity-based policy")),
        ([DENY], ALLOW_ALL, (ALLOW_ALL,), EXPLICIT.format("an identity-based policy")),
        ([ALLOW_ALL], ALLOW_ALL, None, None),
        ([ALLOW_ALL], NOTHING, None, NO.format("permissions boundary")),
        ([ALLOW_ALL], DENY, None, EXPLICIT.format("a permissions boundary")),
        ([], ALLOW_ALL, None, NO.format("identity-based policy")),
        ([ALLOW_ALL], None, (ALLOW_ALL,), None),
        ([ALLOW_ALL], None, (NOTHING, ALLOW_ALL), None),
        ([ALLOW_ALL], None, (), NO.format("session policy")),
        ([ALLOW_ALL], None, (NOTHING,), NO.format("session policy")),
        ([ALLOW_ALL], ALLOW_ALL, (ALLOW_ALL, DENY), EXPLICIT.format("a session policy")),
        ([], None, (ALLOW_ALL,), NO.format("identity-based policy")),
        ([], NOTHING, (DENY,), EXPLICIT.format("a session policy")),
    ],
)
def test_boundary_and_session_policies_limit(policies: Any, boundary: Any, session: Any, reason: str | None) -> None:
    decision = evaluate(policies, ACTION, ARN, boundary=boundary, session_policies=session)
    assert decision.allowed is (reason is None)
    if reason is not None:
        assert decision == Decision(False, reason)


def principal(arn: str = "arn:aws:iam::123456789012:user/team/ann", **fields: Any) -> Principal:
    return Principal(arn, "123456789012", "aws", "AIDA1", **fields)


def test_a_refusal_has_the_text_of_aws() -> None:
    authorise(principal(policies=(ALLOW_ALL,)), ACTION, ARN)
    with pytest.raises(ApiError) as caught:
        authorise(principal(), ACTION, ARN, {})
    assert (caught.value.code, caught.value.status) == ("AccessDeniedException", 403)
    assert caught.value.message == (
        "User: arn:aws:iam::123456789012:user/team/ann is not authorized to perform: airflow:GetEnvironment on "
        f"resource: {ARN} because no identity-based policy allows the airflow:GetEnvironment action"
    )
    with pytest.raises(ApiError, match=r"sales-prod with an explicit deny in an identity-based policy$"):
        authorise(principal(policies=(ALLOW_ALL, DENY)), ACTION, ARN)


def test_root_may_do_everything_in_its_own_account() -> None:
    root = principal("arn:aws:iam::123456789012:root")
    authorise(root, ACTION, ARN)
    authorise(root, "airflow:ListEnvironments", "*")
    with pytest.raises(ApiError, match="no session policy allows"):
        authorise(principal(root.arn, session_policies=()), ACTION, ARN)
    for other in (
        "arn:aws:iam::210987654321:root",
        "arn:aws:iam::123456789012:user/root",
        "arn:aws-cn:iam::123456789012:root",
    ):
        with pytest.raises(ApiError):
            authorise(principal(other), ACTION, ARN)


def test_a_decision_that_hangs_on_the_request_is_made_anew_for_each() -> None:
    early = {"DateLessThan": {"aws:CurrentTime": "2026-11-22T12:00:00Z"}}
    who = principal(policies=(policy(statement(Condition=early)),))
    for _ in range(2):
        authorise(who, ACTION, ARN, {"aws:CurrentTime": datetime(2026, 11, 22, 11, tzinfo=UTC)})
        with pytest.raises(ApiError):
            authorise(who, ACTION, ARN, {"aws:CurrentTime": datetime(2026, 11, 22, 13, tzinfo=UTC)})
    tagged = principal(
        policies=(policy(statement(Resource="arn:aws:airflow:*:*:environment/${aws:ResourceTag/team}")),)
    )
    for team, may in (("sales-prod", True), ("other", False), ("sales-prod", True)):
        if may:
            authorise(tagged, ACTION, ARN, {"aws:ResourceTag/team": team})
        else:
            with pytest.raises(ApiError):
                authorise(tagged, ACTION, ARN, {"aws:ResourceTag/team": team})


def test_a_decision_that_hangs_on_nothing_is_kept_for_that_principal_action_and_resource() -> None:
    only = principal(policies=(policy(statement(Action=ACTION, Resource=ARN)),))
    for _ in range(2):
        authorise(only, ACTION, ARN)
        for action, resource in (("airflow:DeleteEnvironment", ARN), (ACTION, f"{ARN}-2")):
            with pytest.raises(ApiError, match="no identity-based policy allows"):
                authorise(only, action, resource)
    with pytest.raises(ApiError):
        authorise(replace(only, policies=()), ACTION, ARN)


def test_another_accounts_resource_is_out_of_reach() -> None:
    foreign = ARN.replace("123456789012", "210987654321")
    for who in (principal(policies=(ALLOW_ALL,)), principal("arn:aws:iam::123456789012:root")):
        with pytest.raises(ApiError, match="because no resource-based policy allows the airflow:GetEnvironment action"):
            authorise(who, ACTION, foreign)


def test_the_context_says_who_calls_and_cannot_be_told_otherwise() -> None:
    assert principal_context(principal(tags={"team": "a"})) == {
        "aws:PrincipalArn": "arn:aws:iam::123456789012:user/team/ann",
        "aws:PrincipalAccount": "123456789012",
        "aws:PrincipalType": "User",
        "aws:userid": "AIDA1",
        "aws:username": "ann",
        "aws:PrincipalIsAWSService": False,
        "aws:ViaAWSService": False,
        "aws:MultiFactorAuthPresent": None,
        "aws:PrincipalTag/team": "a",
    }
    role = principal_context(principal("arn:aws:sts::123456789012:assumed-role/deploy/session-1"))
    assert role["aws:PrincipalArn"] == "arn:aws:iam::123456789012:role/deploy"
    assert (role["aws:username"], role["aws:PrincipalType"]) == (None, "AssumedRole")
    assert role["aws:MultiFactorAuthPresent"] is False
    with_path = principal(
        "arn:aws:sts::123456789012:assumed-role/deploy/session-1",
        reference=PrincipalReference(
            access_key_id="ASIAEXAMPLE",
            arn="arn:aws:sts::123456789012:assumed-role/deploy/session-1",
            user_id="AROAEXAMPLE:session-1",
            issuer_arn="arn:aws:iam::123456789012:role/ci/deploy",
            issuer_id="AROAEXAMPLE",
        ),
    )
    assert principal_context(with_path)["aws:PrincipalArn"] == "arn:aws:iam::123456789012:role/ci/deploy"
    own = policy(statement(Resource="arn:aws:airflow:*:*:environment/${aws:username}-*"))
    who = principal(policies=(own,))
    authorise(who, ACTION, ARN.replace("sales", "ann"))
    with pytest.raises(ApiError):
        authorise(who, ACTION, ARN, {"aws:username": "sales"})


@pytest.mark.parametrize("key", ["aws:userName", "AWS:PRINCIPALARN", "aws:principaltag/Team", "aws:PrincipalTag/other"])
def test_the_callers_keys_win_in_any_spelling(key: str) -> None:
    condition = {"ForAnyValue:StringEquals": {key: "forged"}}
    who = principal(policies=(policy(statement(Condition=condition)),), tags={"team": "a"})
    with pytest.raises(ApiError):
        authorise(who, ACTION, ARN, {key: "forged"})


def test_the_request_has_its_keys() -> None:
    context = request_context(now=NOON, region="eu-west-1", source_ip="127.0.0.1", secure=False)
    only_here = {"IpAddress": {IP: "127.0.0.0/8"}, "StringEquals": {"aws:RequestedRegion": "eu-west-1"}}
    assert allowed(statement(Condition={**only_here, "DateLessThan": {NOW: "2026-03-05"}}), context=context)
    assert denied(statement("Deny", Condition={"Bool": {TLS: "false"}}), context=context)


KEY = EnvironmentKey("aws", "123456789012", "eu-west-1", "sales")


@pytest.mark.parametrize(
    ("resource", "roles"),
    [
        ("*", ["Admin", "Op", "User", "Viewer", "Public"]),
        ("arn:aws:airflow:*:123456789012:role/sales/*", ["Admin", "Op", "User", "Viewer", "Public"]),
        ("arn:aws:airflow:eu-west-1:123456789012:role/sales/Viewer", ["Viewer"]),
        (["arn:aws:airflow:*:*:role/*/User", "arn:aws:airflow:*:*:role/sales/Op"], ["Op", "User"]),
        ("arn:aws:airflow:eu-west-1:123456789012:role/other/Admin", []),
        ("arn:aws:airflow:eu-west-1:123456789012:role/sales/admin", []),
        ("arn:aws:airflow:eu-west-1:123456789012:environment/sales", []),
    ],
)
def test_airflow_roles(resource: object, roles: list[str]) -> None:
    who = principal(policies=(policy(statement(Action="airflow:CreateWebLoginToken", Resource=resource)),))
    assert roles_allowed(who, "airflow:CreateWebLoginToken", KEY) == roles
    assert roles_allowed(who, "airflow:InvokeRestApi", KEY, {}) == []


def test_a_denied_role_is_not_given() -> None:
    deny = policy(statement("Deny", Resource="arn:aws:airflow:*:*:role/*/Admin"))
    assert roles_allowed(principal(policies=(ALLOW_ALL, deny)), "airflow:InvokeRestApi", KEY)[0] == "Op"


def test_a_hostile_pattern_takes_no_time() -> None:
    started = time.perf_counter()
    pattern = "arn:aws:airflow:*:*:" + "*a" * 200 + "b"
    assert not allowed(statement(Resource=pattern), resource="arn:aws:airflow:r:123456789012:" + "a" * 1200)
    assert time.perf_counter() - started < 1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from(["*", "Allow", "Deny", ACTION, ARN, "Bool", "${a}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Effect", "Action", "Resource", "Condition", "Bool", "NotAction", "x"]), inner
        )
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None, database=None)
@given(JSON, JSON, JSON, JSON)
def test_no_document_is_an_accident_and_deny_always_wins(
    effect: Any, action: Any, resource: Any, condition: Any
) -> None:
    odd = {"Effect": effect, "Action": action, "Resource": resource, "Condition": condition}
    decision = evaluate([policy(odd), {"Statement": odd}, {"Statement": effect}, action], ACTION, ARN, {"a": "b"})
    if decision.allowed:
        assert effect == "Allow"
    assert not evaluate([policy(odd), DENY], ACTION, ARN).allowed

"""Every operation asks whether the caller may do it, to the right resource, and refuses in AWS's words."""

from __future__ import annotations

from typing import Any

import pytest

from aerodrome.api.operations import OPERATIONS
from aerodrome.domain.environment import Status
from aerodrome.store.database import Pool
from support.mwaa import ACCOUNT, GIVEN, ROLE, House, open_house

ARN = f"arn:aws:airflow:eu-west-1:{ACCOUNT}:environment/demo"
ROLES = f"arn:aws:airflow:eu-west-1:{ACCOUNT}:role/demo"
CALLS: list[tuple[str, str, dict[str, Any], str]] = [
    ("create_environment", "CreateEnvironment", {"Name": "demo", **GIVEN}, ARN),
    ("get_environment", "GetEnvironment", {"Name": "demo"}, ARN),
    ("list_environments", "ListEnvironments", {}, "*"),
    ("update_environment", "UpdateEnvironment", {"Name": "demo", "MaxWorkers": 3}, ARN),
    ("delete_environment", "DeleteEnvironment", {"Name": "demo"}, ARN),
    ("create_cli_token", "CreateCliToken", {"Name": "demo"}, ARN),
    ("tag_resource", "TagResource", {"ResourceArn": ARN, "Tags": {"a": "b"}}, ARN),
    ("untag_resource", "UntagResource", {"ResourceArn": ARN, "tagKeys": ["a"]}, ARN),
    ("list_tags_for_resource", "ListTagsForResource", {"ResourceArn": ARN}, ARN),
    ("publish_metrics", "PublishMetrics", {"EnvironmentName": "demo", "MetricData": []}, ARN),
]
WITH_ROLES: list[tuple[str, str, dict[str, Any]]] = [
    ("create_web_login_token", "CreateWebLoginToken", {"Name": "demo"}),
    ("invoke_rest_api", "InvokeRestApi", {"Name": "demo", "Path": "/dags", "Method": "GET"}),
]


def said(refusal: Any) -> str:
    """The message, which `AccessDeniedException` of the model spells with a capital."""
    return str(refusal["Error"].get("Message") or refusal.get("Message"))


def allow(*actions: str, resource: object = "*", **condition: Any) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": resource,
        **({"Condition": condition} if condition else {}),
    }


def test_no_operation_is_left_out() -> None:
    assert {action for _, action, *_ in [*CALLS, *WITH_ROLES]} == set(OPERATIONS)


@pytest.mark.parametrize("there", [True, False], ids=["there", "not there"])
@pytest.mark.parametrize(("operation", "action", "params", "resource"), CALLS, ids=[call[1] for call in CALLS])
async def test_who_may_not_is_told_which_action_and_which_resource(
    house: House, operation: str, action: str, params: dict[str, Any], resource: str, there: bool
) -> None:
    """The same for an environment that is there and one that isn't."""
    if there:
        await house.create()
    everything = "*" if resource == "*" else resource.replace("demo", "other")
    house.account.policies["other"] = [allow("airflow:*", resource=everything)] if resource != "*" else []
    house.account.policies["denied"] = [
        allow("*"),
        {"Effect": "Deny", "Action": f"airflow:{action}", "Resource": resource},
    ]
    for key, reason in (
        ("other", f"because no identity-based policy allows the airflow:{action} action"),
        ("denied", "with an explicit deny in an identity-based policy"),
    ):
        refusal = await house.refused(operation, key=key, **params)
        assert (refusal["Error"]["Code"], refusal["ResponseMetadata"]["HTTPStatusCode"]) == (
            "AccessDeniedException",
            403,
        )
        assert said(refusal) == (
            f"User: arn:aws:iam::{ACCOUNT}:user/{key} is not authorized to perform: airflow:{action} on resource:"
            f" {resource} {reason}"
        )


@pytest.mark.parametrize(("operation", "action", "params"), WITH_ROLES, ids=[call[1] for call in WITH_ROLES])
async def test_without_any_airflow_role_there_is_no_way_in(
    house: House, operation: str, action: str, params: dict[str, Any]
) -> None:
    """The Amazon provider's hook looks for the words "Airflow role"."""
    await house.create()
    await house.become("demo", Status.AVAILABLE)
    house.account.policies["none"] = [
        allow("airflow:*", resource=[ARN, f"{ROLES}/admin", ROLES, ROLES.replace("demo", "other") + "/*"])
    ]
    house.account.policies["denied"] = [allow("*"), {"Effect": "Deny", "Action": "*", "Resource": f"{ROLES}/*"}]
    house.account.policies["elsewhere"] = [allow("*", resource=f"{ROLES.replace('eu-west-1', 'us-east-1')}/*")]
    for key in ("none", "denied", "elsewhere"):
        refusal = await house.refused(operation, key=key, **params)
        assert (refusal["Error"]["Code"], said(refusal)) == (
            "AccessDeniedException",
            "No Airflow role granted in IAM.",
        )
    house.account.policies["viewer"] = [allow(f"airflow:{action}", resource=f"{ROLES}/Viewer")]
    if operation == "create_web_login_token":
        assert "WebToken" in await house.call(operation, key="viewer", **params)
    else:
        assert (await house.refused(operation, key="viewer", **params))["Error"]["Code"] == "RestApiServerException"


async def test_passing_the_execution_role_is_asked_for_as_aws_does(house: House) -> None:
    create = allow("airflow:CreateEnvironment", resource=ARN)
    to_mwaa = {"iam:PassedToService": "airflow.amazonaws.com"}
    house.account.policies |= {
        "to-ec2": [create, allow("iam:PassRole", StringEquals={"iam:PassedToService": "ec2.amazonaws.com"})],
        "to-another": [
            create,
            allow("iam:PassRole", StringEquals=to_mwaa, ArnLike={"iam:AssociatedResourceArn": f"{ARN}2"}),
        ],
        "another-role": [create, allow("iam:PassRole", resource=f"{ROLE}2")],
        "passes": [
            create,
            allow("iam:PassRole", resource=ROLE, StringEquals=to_mwaa, ArnLike={"iam:AssociatedResourceArn": ARN}),
        ],
    }
    for key in ("to-ec2", "to-another", "another-role"):
        refusal = await house.refused("create_environment", key=key, Name="demo", **GIVEN)
        assert f"is not authorized to perform: iam:PassRole on resource: {ROLE} because no" in said(refusal)
    assert (await house.call("create_environment", key="passes", Name="demo", **GIVEN))["Arn"] == ARN


async def test_who_creates_the_first_environment_with_endpoints_of_its_own_may_make_the_service_linked_role(
    pool: Pool,
) -> None:
    there = False

    async def has_service_role(account: str) -> bool:
        assert account == ACCOUNT
        return there

    role = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/airflow.amazonaws.com/AWSServiceRoleForAmazonMWAA"
    creates = [allow("airflow:CreateEnvironment", "iam:PassRole")]
    makes = allow(
        "iam:CreateServiceLinkedRole", resource=role, StringEquals={"iam:AWSServiceName": "airflow.amazonaws.com"}
    )
    own = {**GIVEN, "EndpointManagement": "CUSTOMER"}
    async with open_house(pool, has_service_role=has_service_role) as house:
        house.account.policies |= {"creates": creates, "makes": [*creates, makes]}
        refusal = await house.refused("create_environment", key="creates", Name="a", **own)
        assert f"not authorized to perform: iam:CreateServiceLinkedRole on resource: {role} because" in said(refusal)
        await house.call("create_environment", key="creates", Name="needs-none", **GIVEN)
        await house.call("create_environment", key="makes", Name="a", **own)
        there = True
        await house.call("create_environment", key="creates", Name="b", **own)


async def test_a_setting_narrows_the_list_to_what_the_caller_may_get(pool: Pool) -> None:
    async with open_house(pool, list_readable_only=True) as house:
        for name, team in (("a", "x"), ("b", "y"), ("c", "x"), ("d", "y"), ("e", "x"), ("f", "y"), ("g", "x")):
            await house.create(name, Tags={"team": team})
        of_x = {"StringEquals": {"aws:ResourceTag/team": "x"}}
        lists = {"Effect": "Allow", "Action": "airflow:ListEnvironments", "Resource": "*"}
        gets = {"Effect": "Allow", "Action": "airflow:GetEnvironment", "Resource": "*", "Condition": of_x}
        house.account.policies |= {"x": [lists, gets], "lists": [lists], "gets": [gets]}
        first = await house.call("list_environments", key="x", MaxResults=2)
        assert first["Environments"] == ["a", "c"]
        second = await house.call("list_environments", key="x", MaxResults=2, NextToken=first["NextToken"])
        assert second["Environments"] == ["e", "g"]
        assert "NextToken" not in second, "what follows is not the caller's: there is nothing to go on to"
        assert (await house.call("list_environments"))["Environments"] == list("abcdefg")
        assert (await house.call("list_environments", key="lists"))["Environments"] == []
        assert (await house.refused("list_environments", key="gets"))["Error"]["Code"] == "AccessDeniedException"


async def test_whoever_may_list_sees_all_names_unless_it_is_narrowed(house: House) -> None:
    await house.create("a")
    house.account.policies["lists"] = [{"Effect": "Allow", "Action": "airflow:ListEnvironments", "Resource": "*"}]
    assert (await house.call("list_environments", key="lists"))["Environments"] == ["a"]


async def test_no_tag_of_an_environment_opens_a_role_in_it(house: House) -> None:
    """Roles are resources of their own, which have no tags (service authorization reference of MWAA)."""
    await house.create(Tags={"team": "x"})
    await house.become("demo", Status.AVAILABLE)
    of_x = {"StringEquals": {"aws:ResourceTag/team": "x"}}
    house.account.policies["x"] = [{"Effect": "Allow", "Action": "airflow:*", "Resource": "*", "Condition": of_x}]
    await house.call("get_environment", key="x", Name="demo")
    denied = await house.refused("create_web_login_token", key="x", Name="demo")
    assert "Airflow role" in said(denied)
    assert "WebToken" in await house.call("create_web_login_token", Name="demo")

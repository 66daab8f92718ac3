"""Who may do what to which environment: what operations ask before they do anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aerodrome.api.call import Call
from aerodrome.api.context import Context
from aerodrome.domain.environment import Environment, EnvironmentKey
from aerodrome.domain.lifecycle import refusal
from aerodrome.domain.policy import authorise, decide, request_context, roles_allowed
from aerodrome.errors import ApiError, access_denied, not_found, validation_error

_SERVICE = "airflow.amazonaws.com"


def key_of(call: Call, name: str) -> EnvironmentKey:
    """Region, and with it the partition, from the signature's scope; account from the principal."""
    return EnvironmentKey(call.caller.partition, call.caller.account, call.region, name)


def context_keys(context: Context, call: Call, environment: Environment | None = None) -> dict[str, object]:
    """What conditions of policies may ask about: the request itself, and the tags of the environment."""
    keys = request_context(now=context.now(), region=call.region, source_ip=call.source_ip, secure=False)
    tags = {} if environment is None else environment.tags
    return dict(keys) | {f"aws:ResourceTag/{tag}": value for tag, value in tags.items()}


def request_tag_keys(tags: Mapping[str, str]) -> dict[str, object]:
    """What conditions may ask about the tags that a call brings."""
    keys: dict[str, object] = {f"aws:RequestTag/{tag}": value for tag, value in tags.items()}
    return keys | ({"aws:TagKeys": list(tags)} if tags else {})


def authorise_pass_role(context: Context, call: Call, role_arn: str, key: EnvironmentKey) -> None:
    """Raises ApiError: the caller may not hand this role to the service for that environment."""
    passed = {"iam:PassedToService": _SERVICE, "iam:AssociatedResourceArn": key.arn}
    authorise(call.caller, "iam:PassRole", role_arn, {**context_keys(context, call), **passed})


async def authorise_service_role(context: Context, call: Call, key: EnvironmentKey) -> None:
    """The service-linked role is made for the first environment that needs it, if its creator may make it.

    Raises:
        ApiError: the caller may not, and the role isn't there yet (mwaa-spec 8).
    """
    if context.has_service_role is None or await context.has_service_role(key.account):
        return
    arn = f"arn:{key.partition}:iam::{key.account}:role/aws-service-role/{_SERVICE}/AWSServiceRoleForAmazonMWAA"
    asked = {**context_keys(context, call), "iam:AWSServiceName": _SERVICE}
    authorise(call.caller, "iam:CreateServiceLinkedRole", arn, asked)


async def authorised(
    context: Context, call: Call, key: EnvironmentKey, extra: Mapping[str, object] | None = None
) -> Environment:
    """The environment, for a caller who may do this to it; who may not doesn't learn whether it is there.

    `extra`: condition keys besides those of the request and of the environment.
    """
    environment = await context.store.get(key)
    keys = context_keys(context, call, environment) | dict(extra or {})
    authorise(call.caller, f"airflow:{call.operation}", key.arn, keys)
    if environment is None:
        raise _unknown(key)
    return environment


async def with_roles(context: Context, call: Call) -> tuple[Environment, list[str]]:
    """The environment and the Airflow roles that the caller's policies grant on it (mwaa-spec 7.3).

    A role is a resource of its own, without tags: no condition on the environment's opens it, on AWS and here.
    """
    key = key_of(call, call.params["Name"])
    environment = await context.store.get(key)
    granted = roles_allowed(call.caller, f"airflow:{call.operation}", key, context_keys(context, call))
    if not granted:
        raise access_denied("No Airflow role granted in IAM.")
    if environment is None:
        raise _unknown(key)
    check_status(call.operation, environment)
    return environment, granted


async def authorise_read(context: Context, call: Call, name: str) -> EnvironmentKey:
    """The key of an environment, there or not, whose caller may GetEnvironment it."""
    key = key_of(call, name)
    keys = context_keys(context, call, await context.store.get(key))
    authorise(call.caller, "airflow:GetEnvironment", key.arn, keys)
    return key


async def readable(context: Context, call: Call, names: Sequence[str]) -> list[str]:
    """Those of the names whose environments the caller may GetEnvironment."""
    found = []
    for name in names:
        key = key_of(call, name)
        environment = await context.store.get(key)
        keys = context_keys(context, call, environment)
        if environment is not None and decide(call.caller, "airflow:GetEnvironment", key.arn, keys).allowed:
            found.append(name)
    return found


def check_status(operation: str, environment: Environment) -> None:
    """Raises:
    ApiError: ValidationException when the operation isn't legal in the environment's status.
    """
    reason = refusal(operation, environment.status)
    if reason is not None:
        raise validation_error(reason)


def _unknown(key: EnvironmentKey) -> ApiError:
    return not_found(f"Environment {key.name} not found in {key.region}.")

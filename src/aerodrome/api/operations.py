"""The operations of the MWAA API, a short function each: rules, one write, a poke. Nothing here waits for a backend."""

from __future__ import annotations

import hashlib
import secrets as random
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence

from aerodrome.api import paging, rest
from aerodrome.api.access import (
    authorise_pass_role,
    authorise_service_role,
    authorised,
    check_status,
    context_keys,
    key_of,
    readable,
    request_tag_keys,
    with_roles,
)
from aerodrome.api.call import Call, FromRow, Output
from aerodrome.api.checks import assume, check_bucket, check_kms_key, check_subnets
from aerodrome.api.context import Context
from aerodrome.api.metrics import publish_metrics
from aerodrome.api.objects import resolve_versions
from aerodrome.api.tags import list_tags_for_resource, tag_resource, untag_resource
from aerodrome.api.updates import update_environment
from aerodrome.domain import creation
from aerodrome.domain.description import describe
from aerodrome.domain.environment import Environment, EnvironmentKey, LastUpdate, Status
from aerodrome.domain.kms_key import kms_key_faults
from aerodrome.domain.policy import authorise
from aerodrome.domain.principal import Principal
from aerodrome.domain.secrets import EnvironmentSecrets
from aerodrome.domain.sign_in import start_url_faults
from aerodrome.errors import ApiError, validation_error
from aerodrome.store.environments import AddressTaken, DuplicateName
from aerodrome.store.events import NewEvent
from aerodrome.store.tokens import Grant
from aerodrome.vault import KeyUnusable

_NAME_LIMIT = 64  # longer identities are hashed, as MWAA does (mwaa-spec 7.2)
_PAGE = 25


async def create_environment(context: Context, call: Call) -> Output:
    """Check everything, insert the row, poke the reconciler."""
    key = key_of(call, call.params["Name"])
    tags = call.params.get("Tags") or {}
    keys = context_keys(context, call) | request_tag_keys(tags)
    authorise(call.caller, "airflow:CreateEnvironment", key.arn, keys)
    if tags:
        authorise(call.caller, "airflow:TagResource", key.arn, keys)
    members = creation.complete(call.params, strict=context.strict)
    faults = start_url_faults(members, context.issuer)
    faults = [*faults, *kms_key_faults(members, key.region, has_kms=context.kms is not None)]
    creation.check(members, strict=context.strict, tags=tags, faults=faults)
    if await context.store.get(key) is not None:
        raise _duplicate(key)
    authorise_pass_role(context, call, members["ExecutionRoleArn"], key)
    if members["EndpointManagement"] == "CUSTOMER":
        await authorise_service_role(context, call, key)
    credentials = await assume(context, members, key)
    await check_bucket(context, credentials, members, key.region)
    members |= await resolve_versions(context, credentials, members, key.region)
    await check_subnets(context, key, members)
    await check_kms_key(context, key, members)
    data = {"arn": key.arn, "from": None, "to": Status.CREATING}
    event = NewEvent("create.requested", "CreateEnvironment", call.caller.arn, data)
    environment = await _insert(context, key, members, tags, event)
    context.poke(environment.id)
    return {"Arn": key.arn}


async def _insert(
    context: Context, key: EnvironmentKey, members: dict[str, object], tags: dict[str, str], event: NewEvent
) -> Environment:
    environment_id = uuid.uuid4().hex[:12]
    secrets = EnvironmentSecrets.generate(random.token_urlsafe, urlsafe_b64encode(random.token_bytes(32)).decode())
    while True:
        taken = set((await context.store.addresses()).values())
        address = context.loopback_address(environment_id, taken)
        environment = Environment(
            id=environment_id,
            key=key,
            status=Status.CREATING,
            desired=members,
            applied=None,
            last_update=LastUpdate("PENDING", context.now()),
            host=context.host(environment_id, key.region, address),
            created_at=context.now(),
            generation=1,
            tags=tags,
        )
        try:
            await context.store.insert(environment, address, secrets, event)
        except AddressTaken:
            continue
        except DuplicateName as error:
            raise _duplicate(key) from error
        except KeyUnusable as error:
            raise validation_error(f"Invalid request provided: KmsKey: {error}") from error
        return environment


async def get_environment(context: Context, call: Call) -> Output:
    environment = await authorised(context, call, key_of(call, call.params["Name"]))
    return FromRow(environment.id, environment, lambda: {"Environment": describe(environment, context.private_port)})


async def list_environments(context: Context, call: Call) -> Output:
    """Names in order; the token is sealed and bound to account and region, so that a foreign one is refused.

    Whoever may list sees all names of account and region, as on AWS, unless the installation's setting narrows it.
    """
    principal = call.caller
    authorise(principal, "airflow:ListEnvironments", "*", context_keys(context, call))
    limit = call.params.get("MaxResults") or _PAGE
    scope = f"ListEnvironments/{principal.partition}/{principal.account}/{call.region}"
    after = paging.open_token(context.vault, scope, call.params.get("NextToken"))
    names: list[str] = []
    while len(names) <= limit:
        found = await context.store.list_names(principal.partition, principal.account, call.region, after, limit + 1)
        names += await readable(context, call, found) if context.list_readable_only else found
        if len(found) <= limit:
            break
        after = found[-1]
    output: dict[str, object] = {"Environments": names[:limit]}
    if len(names) > limit:
        output["NextToken"] = paging.seal_token(context.vault, scope, names[limit - 1])
    return output


async def delete_environment(context: Context, call: Call) -> Output:
    """Legal while it is being created, too: the next pass takes down whatever is there by then."""
    while True:
        environment = await authorised(context, call, key_of(call, call.params["Name"]))
        check_status(call.operation, environment)
        data = {"from": environment.status, "to": Status.DELETING}
        event = NewEvent("delete.requested", "DeleteEnvironment", call.caller.arn, data)
        update = LastUpdate("PENDING", context.now())
        if await context.store.update(environment, event, status=Status.DELETING, last_update=update) is not None:
            break
    context.poke(environment.id)
    return {}


async def create_web_login_token(context: Context, call: Call) -> Output:
    environment, roles = await with_roles(context, call)
    token, grant = random.token_urlsafe(48), _grant(call, environment, roles)
    await context.tokens.add(token, "web", grant, context.now())
    return {
        "WebToken": token,
        "WebServerHostname": context.webserver_url(environment),
        "IamIdentity": grant.iam_identity,
        "AirflowIdentity": grant.username,
    }


async def create_cli_token(context: Context, call: Call) -> Output:
    environment = await authorised(context, call, key_of(call, call.params["Name"]))
    check_status(call.operation, environment)
    token = random.token_urlsafe(48)
    await context.tokens.add(token, "cli", _grant(call, environment, []), context.now())
    return {"CliToken": token, "WebServerHostname": context.webserver_url(environment)}


def _grant(call: Call, environment: Environment, roles: Sequence[str]) -> Grant:
    caller = call.caller
    if caller.reference is None:
        raise RuntimeError("a principal without a reference: its source doesn't say where it came from")
    return Grant(
        environment.id,
        airflow_identity(caller),
        caller.iam_identity,
        tuple(roles),
        caller.reference.to_json(),
        call.source_ip,
    )


async def invoke_rest_api(context: Context, call: Call) -> Output:
    environment, roles = await with_roles(context, call)
    context.rest_throttle.take(environment.id)
    return await rest.invoke(context, environment, call, airflow_identity(call.caller), roles)


OPERATIONS = {
    "CreateEnvironment": create_environment,
    "GetEnvironment": get_environment,
    "ListEnvironments": list_environments,
    "UpdateEnvironment": update_environment,
    "DeleteEnvironment": delete_environment,
    "CreateWebLoginToken": create_web_login_token,
    "CreateCliToken": create_cli_token,
    "InvokeRestApi": invoke_rest_api,
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
    "ListTagsForResource": list_tags_for_resource,
    "PublishMetrics": publish_metrics,
}


def airflow_identity(principal: Principal) -> str:
    """The user's name in Airflow: the IAM identity, or its hash when it is longer than Airflow's column."""
    identity = principal.iam_identity
    return identity if len(identity) <= _NAME_LIMIT else hashlib.sha256(identity.encode()).hexdigest()


def _duplicate(key: EnvironmentKey) -> ApiError:
    return validation_error(f"Name: an environment {key.name} exists already in {key.region}; choose another name.")

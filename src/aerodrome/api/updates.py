"""UpdateEnvironment: everything is checked against what is stored before one row is written."""

from __future__ import annotations

from aerodrome.api.access import authorise_pass_role, authorised, check_status, key_of
from aerodrome.api.call import Call, Output
from aerodrome.api.checks import assume, check_bucket
from aerodrome.api.context import Context
from aerodrome.api.objects import resolve_versions
from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.update import Update, check_immutable
from aerodrome.store.events import NewEvent
from aerodrome.wire.request import load_json


async def update_environment(context: Context, call: Call) -> Output:
    """Of two at the same instant the second finds the environment UPDATING, and is refused."""
    asked = Update.of(call.params, strict=context.strict)
    while True:
        environment = await authorised(context, call, key_of(call, call.params["Name"]))
        check_status(call.operation, environment)
        check_immutable(load_json(call.body) if call.body.strip() else {})
        update = await _checked(context, call, asked, environment)
        data = {
            "from": environment.status,
            "to": Status.UPDATING,
            "members": update.changes(environment.desired),
            "strategy": update.strategy,
        }
        event = NewEvent("update.requested", update.describe(environment.desired), call.caller.arn, data)
        changes = update.begin(environment, context.now())
        if await context.store.update(environment, event, **changes) is not None:
            break
    context.poke(environment.id)
    return {"Arn": environment.key.arn}


async def _checked(context: Context, call: Call, update: Update, environment: Environment) -> Update:
    """The update with the versions of objects that the caller left out.

    Raises:
        ApiError: the environment can't become that, or the caller may not make it so.
    """
    stored = environment.desired
    update.check(stored, strict=context.strict, issuer=context.issuer)
    members = update.apply(stored)
    if update.changes_role(stored):
        authorise_pass_role(context, call, members["ExecutionRoleArn"], environment.key)
    if not update.reads_bucket(stored):
        return update
    credentials = await assume(context, members, environment.key)
    await check_bucket(context, credentials, members, environment.key.region)
    return update.with_versions(await resolve_versions(context, credentials, members, environment.key.region))

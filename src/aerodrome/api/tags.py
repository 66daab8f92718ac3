"""TagResource, UntagResource, ListTagsForResource: at once, whatever else happens to the environment.

Tags are no part of what an update changes or rolls back. A write names the tags it read, which are also those that the
caller's policies were asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aerodrome.api.access import authorised, check_status, key_of, request_tag_keys
from aerodrome.api.call import Call, Output
from aerodrome.api.context import Context
from aerodrome.domain import tags as rules
from aerodrome.domain.environment import Environment, EnvironmentKey
from aerodrome.errors import validation_error
from aerodrome.store.events import NewEvent

Tags = Mapping[str, str]


async def tag_resource(context: Context, call: Call) -> Output:
    given = call.params["Tags"]
    await _change(context, call, request_tag_keys(given), lambda tags: rules.added(tags, given))
    return {}


async def untag_resource(context: Context, call: Call) -> Output:
    keys = call.params["tagKeys"]
    await _change(context, call, {"aws:TagKeys": keys}, lambda tags: rules.removed(tags, keys))
    return {}


async def list_tags_for_resource(context: Context, call: Call) -> Output:
    environment = await _environment(context, call, {})
    return {"Tags": environment.tags}


async def _change(
    context: Context, call: Call, condition_keys: Mapping[str, object], change: Callable[[Tags], Tags]
) -> None:
    while True:
        environment = await _environment(context, call, condition_keys)
        check_status(call.operation, environment)
        tags = change(environment.tags)
        if tags == environment.tags:
            return
        data = {
            "set": sorted(key for key, value in tags.items() if environment.tags.get(key) != value),
            "removed": sorted(environment.tags.keys() - tags.keys()),
        }
        event = NewEvent("tags.changed", call.operation, call.caller.arn, data)
        if await context.store.retag(environment, tags, event):
            return


async def _environment(context: Context, call: Call, condition_keys: Mapping[str, object]) -> Environment:
    """The environment that `ResourceArn` names.

    Raises:
        ApiError: ValidationException when it isn't an environment's ARN, or one of another region or partition;
            AccessDeniedException, also for every other account's; ResourceNotFoundException.
    """
    arn = call.params["ResourceArn"]
    key = EnvironmentKey.from_arn(arn)
    if key is None:
        form = key_of(call, "NAME").arn
        raise validation_error(f"ResourceArn: {arn} is not the ARN of an environment, which has the form {form}.")
    if (key.partition, key.region) != (call.caller.partition, call.region):
        raise validation_error(
            f"ResourceArn: {arn} is of partition {key.partition} and region {key.region}, and this call was signed for"
            f" {call.caller.partition} and {call.region}; sign it for the environment's own."
        )
    return await authorised(context, call, key, condition_keys)

"""PublishMetrics: MWAA's containers report their health with it; the API keeps it, deprecated, and ignores the data."""

from __future__ import annotations

from aerodrome.api.access import context_keys, key_of
from aerodrome.api.call import Call, Output
from aerodrome.api.context import Context
from aerodrome.domain.policy import authorise
from aerodrome.errors import validation_error


async def publish_metrics(context: Context, call: Call) -> Output:
    """Checked and authorised like every call, then dropped: the model says that the data is ignored.

    Raises:
        ApiError: AccessDeniedException; ValidationException for an unknown environment: this operation has no 404.
    """
    key = key_of(call, call.params["EnvironmentName"])
    environment = await context.store.get(key)
    authorise(call.caller, "airflow:PublishMetrics", key.arn, context_keys(context, call, environment))
    if environment is None:
        raise validation_error(f"EnvironmentName: environment {key.name} not found in {key.region}.")
    return {}

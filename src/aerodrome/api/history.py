"""`GET /_aerodrome/environments/{name}/events`: an environment's history, the one call that MWAA doesn't have.

Signed like every other call (service `airflow`), authorised as `airflow:GetEnvironment`.
"""

from __future__ import annotations

import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aerodrome.api.context import Context
from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.policy import authorise, request_context
from aerodrome.errors import ApiError, Temporary, validation_error
from aerodrome.identity import Verifier
from aerodrome.store.events import Event
from aerodrome.wire import Wire

PATH = "/_aerodrome/environments/{name}/events"


def history_routes(context: Context, verifier: Verifier, wire: Wire) -> list[Route]:
    """Answers `{"Events": [...]}`, oldest first, those after the id in the query parameter `after` (default 0)."""

    async def answer(request: Request) -> Response:
        request_id = str(uuid.uuid4())
        try:
            return JSONResponse({"Events": await _events(request)})
        except ApiError as error:
            reply = wire.error(error, request_id)
        except Temporary as error:
            reply = wire.error(ApiError("ServiceUnavailableException", str(error), 503), request_id)
        return Response(reply.body, reply.status, dict(reply.headers))

    async def _events(request: Request) -> list[dict[str, Any]]:
        scope = request.scope
        caller = await verifier.verify(
            request.method, scope["raw_path"], scope["query_string"], list(scope["headers"]), await request.body()
        )
        principal = caller.principal
        key = EnvironmentKey(principal.partition, principal.account, caller.region, request.path_params["name"])
        environment = await context.store.get(key)
        tags = {} if environment is None else environment.desired.get("Tags") or {}
        peer = request.client.host if request.client else ""
        asked = request_context(now=context.now(), region=caller.region, source_ip=peer, secure=False)
        context_keys = dict(asked) | {f"aws:ResourceTag/{tag}": value for tag, value in tags.items()}
        authorise(principal, "airflow:GetEnvironment", key.arn, context_keys)
        after = request.query_params.get("after", "0")
        if not after.isdecimal() or len(after) > 18:
            raise validation_error("after: it must be the Id of an event.")
        return [_show(event) for event in await context.events.after(key, int(after))]

    return [Route(PATH, answer, methods=["GET"])]


def _show(event: Event) -> dict[str, Any]:
    return {
        "Id": event.id,
        "At": event.at.timestamp(),
        "Type": event.type,
        "Message": event.message,
        "Actor": event.actor,
        "Data": event.data,
    }

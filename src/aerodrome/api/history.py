"""`GET /_aerodrome/environments/{name}/events`: an environment's history, the one call that MWAA doesn't have.

Signed like every other call (service `airflow`), authorised as `airflow:GetEnvironment`, behind the same middleware.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, unquote

from aerodrome.api.access import authorise_read
from aerodrome.api.call import Call, Handler
from aerodrome.api.context import Context
from aerodrome.errors import ApiError, validation_error
from aerodrome.store.events import Event
from aerodrome.wire import Reply

PREFIX = b"/_aerodrome/environments/"
_PATH = re.compile(r"/_aerodrome/environments/([^/]+)/events")


def build_history(context: Context) -> Handler:
    """Answers `{"Events": [...]}`, oldest first, those after the id in the query parameter `after` (default 0)."""

    async def answer(call: Call) -> Reply:
        match = _PATH.fullmatch(call.raw_path.decode("latin-1"))
        if match is None or call.method != "GET":
            raise ApiError("UnknownOperationException", "There is only GET /_aerodrome/environments/NAME/events.", 404)
        key = await authorise_read(context, call, unquote(match[1]))
        after = parse_qs(call.raw_query.decode("latin-1")).get("after", ["0"])[-1]
        if not (after.isascii() and after.isdecimal()) or len(after) > 18:
            raise validation_error("after: it must be the Id of an event.")
        events = [_show(event) for event in await context.events.after(key, int(after))]
        return Reply(200, {"content-type": "application/json"}, json.dumps({"Events": events}).encode())

    return answer


def _show(event: Event) -> dict[str, Any]:
    return {
        "Id": event.id,
        "At": event.at.timestamp(),
        "Type": event.type,
        "Message": event.message,
        "Actor": event.actor,
        "Data": event.data,
    }

"""What every call of the MWAA API passes through, outermost first: log, errors, signature, route, validation."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from aerodrome.api.call import Call, FromRow, Handler, Middleware
from aerodrome.api.context import Context
from aerodrome.api.operations import OPERATIONS
from aerodrome.domain.partitions import partition_of
from aerodrome.errors import ApiError, Permanent, Temporary, validation_error
from aerodrome.identity import Verifier
from aerodrome.wire import Reply, Wire

log = logging.getLogger(__name__)

_KEPT = 1000  # replies
BODY_LIMIT = 4 * 1024 * 1024  # bytes; the largest legal CreateEnvironment is far below


def build_middleware(wire: Wire, verifier: Verifier) -> Sequence[Middleware]:
    """The list, in the order in which a call meets it."""

    async def logged(call: Call, inner: Handler) -> Reply:
        started = time.monotonic()
        reply = await inner(call)
        who = call.principal.arn if call.principal else "-"
        took = (time.monotonic() - started) * 1000
        said = (call.request_id, call.operation, who, reply.status, took, call.region)
        # Once the answer is on its way: nobody need wait for a line of the log.
        asyncio.get_running_loop().call_soon(log.info, "%s %s %s %d %.1f ms %s", *said)
        return reply

    async def mapped(call: Call, inner: Handler) -> Reply:
        """Every failure becomes an AWS answer; what nobody foresaw is logged with its traceback and shown without."""
        try:
            return await inner(call)
        except ApiError as error:
            return wire.error(error, call.request_id)
        except Temporary as error:
            unavailable = ApiError("ServiceUnavailableException", f"Try again in a moment: {error}", 503)
            return wire.error(unavailable, call.request_id)
        except Permanent as error:
            log.error("%s %s: %s", call.request_id, call.operation, error)
            return wire.error(ApiError("InternalServerException", str(error), 500), call.request_id)
        except Exception:  # the boundary: nothing may reach the client raw
            log.exception("%s %s: unexpected failure", call.request_id, call.operation)
            message = f"Internal failure; the control plane's log has the details under request {call.request_id}."
            return wire.error(ApiError("InternalServerException", message, 500), call.request_id)

    async def signed(call: Call, inner: Handler) -> Reply:
        caller = await verifier.verify(call.method, call.raw_path, call.raw_query, call.headers, call.body)
        call.principal, call.region = caller.principal.seen_in(partition_of(caller.region)), caller.region
        return await inner(call)

    async def routed(call: Call, inner: Handler) -> Reply:
        call.match, call.params = wire.read(call.method, call.raw_path, call.raw_query, call.headers, call.body)
        return await inner(call)

    return [logged, mapped, signed, routed]


def build_operation(wire: Wire, context: Context) -> Handler:
    """The innermost: run the operation, serialise what it returns."""

    replies: dict[str, tuple[object, Reply]] = {}  # to GetEnvironment, by the environment's id, with the row they tell

    async def operate(call: Call) -> Reply:
        operation = OPERATIONS.get(call.operation)
        if operation is None:
            raise validation_error(f"{call.operation} is not supported by this release of Aerodrome yet.")
        output = await operation(context, call)
        if not isinstance(output, FromRow):
            return wire.serialise(call.operation, output)
        row, reply = replies.get(output.id, (None, None))
        if reply is None or row is not output.row:
            reply = wire.serialise(call.operation, output.make())
            if len(replies) >= _KEPT:
                replies.clear()
            replies[output.id] = output.row, reply
        return reply

    return operate

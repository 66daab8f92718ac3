"""What every call of the MWAA API passes through, outermost first: log, errors, signature, route, validation."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from aerodrome.api.call import Call, Handler, Middleware
from aerodrome.api.context import Context
from aerodrome.api.operations import OPERATIONS
from aerodrome.errors import ApiError, Permanent, Temporary, validation_error
from aerodrome.identity import Verifier
from aerodrome.wire import Reply, Wire

log = logging.getLogger(__name__)

BODY_LIMIT = 4 * 1024 * 1024  # bytes; the largest legal CreateEnvironment is far below


def build_middleware(wire: Wire, verifier: Verifier) -> Sequence[Middleware]:
    """The list, in the order in which a call meets it."""

    async def logged(call: Call, inner: Handler) -> Reply:
        started = time.monotonic()
        reply = await inner(call)
        who = call.principal.arn if call.principal else "-"
        took = (time.monotonic() - started) * 1000
        log.info("%s %s %s %d %.1f ms %s", call.request_id, call.operation, who, reply.status, took, call.region)
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
        caller = await verifier.verify(call.method, call.raw_path, call.raw_query, list(call.headers), call.body)
        call.principal, call.region = caller.principal, caller.region
        return await inner(call)

    async def routed(call: Call, inner: Handler) -> Reply:
        call.match = wire.match(call.method, call.raw_path)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in call.headers}
        call.params = wire.parse(call.match, call.raw_query.decode("latin-1"), headers, call.body)
        wire.validate(call.operation, call.params)
        return await inner(call)

    return [logged, mapped, signed, routed]


def build_operation(wire: Wire, context: Context) -> Handler:
    """The innermost: run the operation, serialise what it returns."""

    async def operate(call: Call) -> Reply:
        operation = OPERATIONS.get(call.operation)
        if operation is None:
            raise validation_error(f"{call.operation} is not supported by this release of Aerodrome yet.")
        return wire.serialise(call.operation, await operation(context, call))

    return operate

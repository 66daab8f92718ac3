"""The front door: one ASGI application that decides whose a request is.

Signed for `airflow`: ours. Below `/_aerodrome/`: ours (no bucket's name begins like that). Everything else is passed on
to the embedded cloud untouched, which verifies signatures and policies itself.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Callable

import httpcore
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aerodrome.api.call import Call, Handler
from aerodrome.api.history import PREFIX as HISTORY
from aerodrome.api.middleware import BODY_LIMIT
from aerodrome.errors import ApiError
from aerodrome.identity import parse_scope
from aerodrome.relay import ClientGone, Relay
from aerodrome.wire import Reply, Wire

log = logging.getLogger(__name__)

SIGNING_NAME = "airflow"
# Unsigned requests are routed by the host the client chose, or by paths that only MWAA has.
_MWAA_HOST = re.compile(r"^(api|env|ops)\.")
_MWAA_PATH = re.compile(rb"^/(environments|clitoken|webtoken|restapi|tags|metrics/environments)(/|$)")


class FrontDoor:
    """`own` and `history` answer below `/_aerodrome/`, `mwaa` handles the MWAA API, `cloud` gets the rest."""

    def __init__(
        self,
        *,
        own: ASGIApp,
        mwaa: Handler,
        history: Handler,
        wire: Wire,
        cloud: Relay | None,
        healthy: Callable[[], bool],
    ) -> None:
        self._own = own
        self._history = history
        self._mwaa = mwaa
        self._wire = wire
        self._cloud = cloud
        self._healthy = healthy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: bytes = scope["raw_path"]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        signature = parse_scope(headers, scope["query_string"].decode("latin-1"))
        if signature is None and path == b"/healthz":
            status = 200 if self._healthy() else 503
            await _send(send, Reply(status, {"content-type": "application/json"}, b'{"status": %d}' % status))
        elif path.startswith(HISTORY):
            await self._call(self._history, scope, receive, send)
        elif path.startswith(b"/_aerodrome/"):
            await self._own(scope, receive, send)
        elif signature.service == SIGNING_NAME if signature else _is_mwaa(headers.get("host", ""), path):
            await self._call(self._mwaa, scope, receive, send)
        else:
            await self._pass_on(scope, receive, send)

    async def _call(self, handler: Handler, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = str(uuid.uuid4())
        try:
            call = await call_of(scope, receive, request_id)
        except ClientDisconnect:
            return
        except ApiError as error:
            await _send(send, self._wire.error(error, request_id))
            return
        reply = await handler(call)
        await _send(send, Reply(reply.status, {**reply.headers, "x-amzn-requestid": request_id}, reply.body))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._cloud is None:
            await _send(send, _unavailable("This installation has no embedded cloud: send this call to AWS itself."))
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._cloud.pass_on(scope, receive, watched)
        except ClientGone:
            return
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            log.warning("The embedded cloud is away: %s", error or type(error).__name__)
            if started:
                return  # uvicorn cuts the connection, so that the client sees the break
            await _send(send, _unavailable("The embedded cloud is starting again; try again in a few seconds."))


async def call_of(scope: Scope, receive: Receive, request_id: str) -> Call:
    """The request with its body.

    Raises:
        ApiError: RequestEntityTooLargeException. ClientDisconnect: nobody is there any more.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT:
            raise ApiError("RequestEntityTooLargeException", f"The body is larger than {BODY_LIMIT} bytes.", 413)
        if not message.get("more_body"):
            break
    return Call(
        method=scope["method"],
        raw_path=scope["raw_path"],
        raw_query=scope["query_string"],
        headers=scope["headers"],
        body=bytes(body),
        request_id=request_id,
        source_ip=(scope.get("client") or ("", 0))[0],
    )


def _is_mwaa(host: str, path: bytes) -> bool:
    return _MWAA_HOST.match(host) is not None or _MWAA_PATH.match(path) is not None


def _unavailable(message: str) -> Reply:
    """Readable for clients of every protocol: S3's parse XML, the others look at the status and the header first."""
    body = json.dumps({"__type": "ServiceUnavailable", "message": message}).encode()
    headers = {"content-type": "application/json", "x-amzn-errortype": "ServiceUnavailable", "retry-after": "2"}
    return Reply(503, headers, body)


async def _send(send: Send, reply: Reply) -> None:
    headers = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in reply.headers.items()]
    headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})

"""The front door: one ASGI application that decides whose a request is.

Signed for `airflow`: ours. Below `/_aerodrome/`: ours (no bucket's name begins like that). Everything else is passed on
to the embedded cloud untouched, which verifies signatures and policies itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import uuid
from collections.abc import Callable, Sequence

import httpcore
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aerodrome.api.call import Call, Handler
from aerodrome.api.history import PREFIX as HISTORY
from aerodrome.api.middleware import BODY_LIMIT
from aerodrome.api.sessions import PREFIX as SESSIONS
from aerodrome.content.writes import Write, Writes
from aerodrome.errors import ApiError
from aerodrome.identity import parse_scope
from aerodrome.relay import Relay
from aerodrome.web import bodies
from aerodrome.wire import Reply, Wire

log = logging.getLogger(__name__)

SIGNING_NAME = "airflow"
BODY_SECONDS = 30.0  # for the body of a call of ours, in all
TURN_SECONDS = 20.0  # that a call waits for its turn; SDKs give up after 60
# Calls under way at once, others wait for their turn: the reconciler shares the event loop with them, and each of its
# many small steps would wait for a slice of every one.
_AT_ONCE = 8
_LONG_AT_ONCE = 64  # of those that wait for others themselves
_LONG = re.compile(rb"^/restapi/")
# Unsigned requests are routed by the host the client chose, or by paths that only MWAA has.
_MWAA_HOST = re.compile(rb"^(api|env|ops)\.")
_MWAA_PATH = re.compile(rb"^/(environments|clitoken|webtoken|restapi|tags|metrics/environments)(/|$)")


class FrontDoor:
    """`own` and `history` (signed calls) answer below `/_aerodrome/`, `mwaa` handles the MWAA API, `cloud` the rest.

    `writes` is told of those to the cloud's S3. The cloud answers a write with success when it is on disk.
    """

    def __init__(
        self,
        *,
        own: ASGIApp,
        mwaa: Handler,
        history: Handler,
        wire: Wire,
        cloud: Relay | None,
        healthy: Callable[[], bool],
        writes: Writes | None = None,
        body_seconds: float = BODY_SECONDS,
        turn_seconds: float = TURN_SECONDS,
    ) -> None:
        self._own = own
        self._history = history
        self._mwaa = mwaa
        self._wire = wire
        self._cloud = cloud
        self._healthy = healthy
        self._writes = writes
        self._body_seconds = body_seconds
        self._turn_seconds = turn_seconds
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._long_turns = asyncio.Semaphore(_LONG_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: bytes = scope["raw_path"]
        signature = parse_scope(scope["headers"], scope["query_string"])
        if signature is None and path == b"/healthz":
            status = 200 if self._healthy() else 503
            await _send(send, Reply(status, {"content-type": "application/json"}, b'{"status": %d}' % status))
        elif path.startswith((HISTORY, SESSIONS)):
            await self._call(self._history, scope, receive, send)
        elif path.startswith(b"/_aerodrome/"):
            await self._own(scope, receive, send)
        elif signature.service == SIGNING_NAME if signature else _is_mwaa(scope["headers"], path):
            await self._call(self._mwaa, scope, receive, send)
        else:
            await self._pass_on(scope, receive, send)

    async def _call(self, handler: Handler, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = str(uuid.uuid4())
        try:
            has_body = bodies.announced(scope["headers"])
            body = await bodies.read(receive, BODY_LIMIT, self._body_seconds) if has_body else b""
        except bodies.ClientGone:
            return
        except bodies.TooLarge as error:
            await self._cut_short(ApiError("RequestEntityTooLargeException", str(error), 413), request_id, send)
            return
        except bodies.Incomplete as error:
            await self._cut_short(ApiError("RequestTimeoutException", str(error), 408), request_id, send)
            return
        call = Call(
            method=scope["method"],
            raw_path=scope["raw_path"],
            raw_query=scope["query_string"],
            headers=scope["headers"],
            body=body,
            request_id=request_id,
            source_ip=(scope.get("client") or ("", 0))[0],
        )
        reply = await self._in_turn(handler, call)
        await _send(send, Reply(reply.status, {**reply.headers, "x-amzn-requestid": request_id}, reply.body))

    async def _in_turn(self, handler: Handler, call: Call) -> Reply:
        # InvokeRestApi waits for Airflow, CreateEnvironment for S3.
        long = call.method == "PUT" or _LONG.match(call.raw_path) is not None
        turns = self._long_turns if long else self._turns
        if not turns.locked():
            await turns.acquire()  # at once
        elif not await self._wait_for(turns):
            busy = ApiError("ThrottlingException", "Too many calls are under way; try again in a moment.", 429)
            return self._wire.error(busy, call.request_id)
        try:
            return await handler(call)
        finally:
            turns.release()

    async def _wait_for(self, turns: asyncio.Semaphore) -> bool:
        try:
            async with asyncio.timeout(self._turn_seconds):
                return await turns.acquire()
        except TimeoutError:
            return False

    async def _cut_short(self, error: ApiError, request_id: str, send: Send) -> None:
        """Answer before the body has come: the rest of it is not waited for."""
        reply = self._wire.error(error, request_id)
        await _send(send, Reply(reply.status, {**reply.headers, "connection": "close"}, reply.body))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._cloud is None:
            await _send(send, _unavailable("This installation has no embedded cloud: send this call to AWS itself."))
            return
        write = Write.of(scope["method"], scope["raw_path"], scope["query_string"], scope["headers"])
        if write is None or self._writes is None:
            await self._exchange(self._cloud, scope, receive, send)
            return
        writes = self._writes
        writes.began(write)

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":  # before `send`: the client may be gone
                writes.ended(write, durable=message["status"] < 400)
            await send(message)

        try:
            await self._exchange(self._cloud, scope, receive, watched)
        finally:
            writes.ended(write, durable=False)

    async def _exchange(self, cloud: Relay, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await cloud.pass_on(scope, receive, watched)
        except bodies.ClientGone:
            return
        except bodies.Incomplete as error:
            if not started:
                await _send(send, _timed_out(str(error)))
        except httpcore.PoolTimeout:
            await _send(send, _unavailable("The embedded cloud has too many requests under way; try again."))
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            log.warning("The embedded cloud is away: %s", error or type(error).__name__)
            if started:
                return  # uvicorn cuts the connection, so that the client sees the break
            await _send(send, _unavailable("The embedded cloud is starting again; try again in a few seconds."))


def _is_mwaa(headers: Sequence[tuple[bytes, bytes]], path: bytes) -> bool:
    host = next((value for name, value in headers if name == b"host"), b"")
    return _MWAA_HOST.match(host) is not None or _MWAA_PATH.match(path) is not None


def _unavailable(message: str) -> Reply:
    """Readable for clients of every protocol: S3's parse XML, the others look at the status and the header first."""
    body = json.dumps({"__type": "ServiceUnavailable", "message": message}).encode()
    headers = {"content-type": "application/json", "x-amzn-errortype": "ServiceUnavailable", "retry-after": "2"}
    return Reply(503, headers, body)


def _timed_out(message: str) -> Reply:
    """As S3 says it; SDKs try again."""
    body = f"<Error><Code>RequestTimeout</Code><Message>{message}</Message></Error>".encode()
    return Reply(400, {"content-type": "application/xml", "connection": "close"}, body)


async def _send(send: Send, reply: Reply) -> None:
    headers = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in reply.headers.items()]
    headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})

"""Passing an HTTP request on as it is: raw target and headers untouched, bodies streamed both ways.

A client that normalises URLs would break signatures and presigned links; `httpcore` sends the bytes it is given.
A request body may come as slowly as it likes, as long as it comes.
"""

from __future__ import annotations

from collections.abc import Iterable

import httpcore
from starlette.types import Receive, Scope, Send

from aerodrome.web.bodies import Inbound

# Between one client and one server (RFC 9110, 7.6.1), and Expect, which the server in front has answered already.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"expect",
    }
)
_CONNECT, _POOL, _READ, _WRITE = 5.0, 30.0, 900.0, 60.0  # seconds
_GATHERED = 64 * 1024  # bytes of a body that we wait for before we take up the server's time
_SHORT = 64 * 1024  # bytes of an answer that is passed on whole or not at all
UPLOAD_IDLE = 60.0  # seconds between two pieces of a request body


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers without the hop-by-hop ones, those named by Connection included."""
    headers = list(headers)
    named = {
        token.strip().lower() for name, value in headers if name.lower() == b"connection" for token in value.split(b",")
    }
    return [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP | named]


class Relay:
    """Passes requests on to one server. `host` is a loopback address; connections are kept and reused.

    `connections` are for requests that have come whole, and as many again for those whose bodies are still coming:
    slow uploads fill the latter alone. `idle`: seconds of silence that end an upload.
    """

    def __init__(self, host: str, port: int, *, connections: int = 100, idle: float = UPLOAD_IDLE) -> None:
        self._origin = (b"http", host.encode(), port)
        self._idle = idle
        self._whole, self._coming = (
            httpcore.AsyncConnectionPool(
                max_connections=connections, max_keepalive_connections=20, keepalive_expiry=20, retries=0
            )
            for _ in range(2)
        )

    async def close(self) -> None:
        await self._whole.aclose()
        await self._coming.aclose()

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an ASGI HTTP request on and its answer back.

        Raises:
            Incomplete: the body stopped coming (ClientGone: nobody is left to answer).
        httpcore.NetworkError, ProtocolError, TimeoutException: the server is away, broke off, or (PoolTimeout) has
            as much to do as it can.
        """
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        headers = end_to_end(scope["headers"])
        lengths = [value for name, value in headers if name == b"content-length"]
        chunked = not lengths and any(name == b"transfer-encoding" for name, _ in scope["headers"])
        if chunked:
            headers.append((b"transfer-encoding", b"chunked"))
        scheme, host, port = self._origin
        inbound = Inbound(receive, self._idle, has_body=chunked or bool(lengths and lengths[0] != b"0"))
        has_body = not inbound.complete
        await inbound.gather(_GATHERED)
        pool = self._whole if inbound.complete else self._coming
        request = httpcore.Request(
            method=scope["method"].encode(),
            url=httpcore.URL(scheme=scheme, host=host, port=port, target=target),
            headers=headers,
            content=inbound.chunks() if has_body else b"",
            extensions={"timeout": {"connect": _CONNECT, "pool": _POOL, "read": _READ, "write": _WRITE}},
        )
        await inbound.serve(_exchange(pool, request, send))


async def _exchange(pool: httpcore.AsyncConnectionPool, request: httpcore.Request, send: Send) -> None:
    response = await pool.handle_async_request(request)
    try:
        start = {
            "type": "http.response.start",
            "status": response.status,
            "headers": end_to_end((name.lower(), value) for name, value in response.headers),
        }
        if _is_short(response):  # a server that dies now is a failure; botocore would take the head alone for success
            body = await response.aread()
            await send(start)
            await send({"type": "http.response.body", "body": body, "more_body": False})
            return
        await send(start)
        async for chunk in response.aiter_stream():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        await response.aclose()


def _is_short(response: httpcore.Response) -> bool:
    length = next((value for name, value in response.headers if name.lower() == b"content-length"), b"")
    return length.isdigit() and int(length) <= _SHORT

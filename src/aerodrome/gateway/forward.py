"""One request through to a web server and back, streaming both ways, with nothing but headers touched."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import httpx
from starlette.types import Receive, Scope, Send

from aerodrome.gateway import pages
from aerodrome.gateway.headers import Framing, towards_airflow, towards_client
from aerodrome.gateway.ports import Limits, Route
from aerodrome.gateway.upstream import Away, Broken, Upstreams

log = logging.getLogger("aerodrome.gateway")

RawHeaderList = list[tuple[bytes, bytes]]
OnAnswer = Callable[[RawHeaderList], Awaitable[None]]

_RETRY_AFTER = 5  # seconds; a browser's page loads itself again


class _ClientGone(Exception):
    """The client closed its connection in the middle of its request body."""


class _ClientSlow(Exception):
    """The client stopped sending its request body."""


class _Inbound:
    """The request body, and the moment when the client hangs up."""

    def __init__(self, receive: Receive, idle: float, has_body: bool) -> None:
        self._receive = receive
        self._idle = idle
        self._read = asyncio.Event()
        if not has_body:
            self._read.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            try:
                async with asyncio.timeout(self._idle):
                    event = await self._receive()
            except TimeoutError as error:
                raise _ClientSlow from error
            if event["type"] == "http.disconnect":
                raise _ClientGone
            more = event.get("more_body", False)
            if event.get("body"):
                yield event["body"]
        self._read.set()

    async def hang_up(self) -> None:
        """Return when the client is gone."""
        await self._read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


class Forwarder:
    """Stateless but for the connection pools."""

    def __init__(self, upstreams: Upstreams, limits: Limits) -> None:
        self._upstreams = upstreams
        self._limits = limits

    async def forward(
        self,
        route: Route,
        host: str,
        port: int,
        body: Framing,
        on_answer: OnAnswer,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Send the request on and the answer back. `on_answer` sees the answer's headers before the client does."""
        inbound = _Inbound(receive, self._limits.body_idle, body.has_body)
        client = scope["client"][0] if scope.get("client") else "127.0.0.1"
        headers = towards_airflow(scope["headers"], body, client=client, host=host, port=port)
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        chunks = inbound.chunks() if body.has_body else None
        exchange = asyncio.ensure_future(
            self._exchange(route, scope, target, headers, chunks, on_answer, receive, send)
        )
        hang_up = asyncio.ensure_future(inbound.hang_up())
        try:
            await asyncio.wait({exchange, hang_up}, return_when=asyncio.FIRST_COMPLETED)
            if exchange.done():
                exchange.result()
        finally:
            for task in (exchange, hang_up):
                task.cancel()
            await asyncio.wait({exchange, hang_up})
            if not exchange.cancelled():
                exchange.exception()  # seen, even when the client left first

    async def _exchange(
        self,
        route: Route,
        scope: Scope,
        target: bytes,
        headers: RawHeaderList,
        chunks: AsyncIterator[bytes] | None,
        on_answer: OnAnswer,
        receive: Receive,
        send: Send,
    ) -> None:
        as_html = pages.wants_html(scope["method"], scope["headers"])
        try:
            response = await self._upstreams.send(route, scope["method"], target, headers, chunks)
        except Away:
            text = (
                f"The web server of environment {route.key.name} is not up (starting, being replaced, or overloaded)."
            )
            answer = pages.message(503, "Not available yet", text, as_html=as_html, retry_after=_RETRY_AFTER)
        except Broken as error:
            log.warning("environment %s: the web server broke off: %s", route.environment_id, error)
            text = f"The web server of environment {route.key.name} broke off without an answer. Try again."
            answer = pages.message(502, "Bad gateway", text, as_html=as_html, retry_after=_RETRY_AFTER)
        except _ClientSlow:
            text = f"The request body stopped coming for {self._limits.body_idle:.0f} seconds."
            answer = pages.message(408, "Request timeout", text, as_html=False)
            answer.headers["connection"] = "close"
        except _ClientGone:
            return
        else:
            await self._pass_back(response, on_answer, send)
            return
        await answer(scope, receive, send)

    async def _pass_back(self, response: httpx.Response, on_answer: OnAnswer, send: Send) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - an async transport made it
        try:
            headers = towards_client(response.headers.raw)
            await on_answer(headers)
            # Broken off: returning without the end makes uvicorn cut the connection, so that the client sees it too.
            with suppress(httpx.TransportError, TimeoutError):
                await self._send(
                    send, {"type": "http.response.start", "status": response.status_code, "headers": headers}
                )
                async for chunk in response.stream:
                    await self._send(send, {"type": "http.response.body", "body": chunk, "more_body": True})
                await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await response.stream.aclose()

    async def _send(self, send: Send, event: dict[str, object]) -> None:
        async with asyncio.timeout(self._limits.send_idle):
            await send(event)

"""One request through to a web server and back, streaming both ways, with nothing but headers touched."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import httpcore
from starlette.types import Receive, Scope, Send

from aerodrome.gateway import pages
from aerodrome.gateway.headers import Framing, towards_airflow, towards_client
from aerodrome.gateway.identity import Proofs
from aerodrome.gateway.ports import Limits, Route
from aerodrome.gateway.upstream import BROKEN_OFF, Away, Broken, Upstreams
from aerodrome.web.bodies import ClientGone, Inbound, Incomplete

log = logging.getLogger("aerodrome.gateway")

RawHeaderList = list[tuple[bytes, bytes]]
OnAnswer = Callable[[RawHeaderList], Awaitable[None]]

_RETRY_AFTER = 5  # seconds; a browser's page loads itself again


class Forwarder:
    """Stateless but for what it was given: connection pools, and proofs."""

    def __init__(self, upstreams: Upstreams, proofs: Proofs, limits: Limits) -> None:
        self._upstreams = upstreams
        self._proofs = proofs
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
        inbound = Inbound(receive, self._limits.body_idle, body.has_body)
        client = scope["client"][0] if scope.get("client") else "127.0.0.1"
        headers = towards_airflow(scope["headers"], body, client=client, host=host, port=port)
        headers.append(await self._proofs.header(route.environment_id))
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        chunks = inbound.chunks() if body.has_body else None
        await inbound.serve(self._exchange(route, scope, target, headers, chunks, on_answer, receive, send))

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
        except ClientGone:
            return
        except Incomplete as error:
            answer = pages.message(408, "Request timeout", str(error), as_html=False)
            answer.headers["connection"] = "close"
        else:
            await self._pass_back(response, on_answer, send)
            return
        await answer(scope, receive, send)

    async def _pass_back(self, response: httpcore.Response, on_answer: OnAnswer, send: Send) -> None:
        try:
            headers = towards_client(response.headers)
            await on_answer(headers)
            # Broken off: returning without the end makes uvicorn cut the connection, so that the client sees it too.
            with suppress(*BROKEN_OFF):
                await send({"type": "http.response.start", "status": response.status, "headers": headers})
                async for chunk in response.aiter_stream():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await response.aclose()

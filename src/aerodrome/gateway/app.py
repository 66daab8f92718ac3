"""The gateway's ASGI application: what happens to a request, from top to bottom."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from typing import Protocol

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from aerodrome.errors import Temporary
from aerodrome.gateway import doors, pages, paths
from aerodrome.gateway.cli_bridge import CliBridge
from aerodrome.gateway.forward import Forwarder, RawHeaderList
from aerodrome.gateway.headers import BadRequest, Framing, framing, host_header, is_upgrade, secured
from aerodrome.gateway.hosts import split_host
from aerodrome.gateway.identity import Proofs
from aerodrome.gateway.oidc import OidcPages, following
from aerodrome.gateway.ports import Backstage, Route
from aerodrome.gateway.signin import SignIn
from aerodrome.gateway.turnstile import Full, Turnstile
from aerodrome.gateway.upstream import Upstreams

access = logging.getLogger("aerodrome.gateway.access")

_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})


class Entrance(Protocol):
    """The side that a request came in by."""

    def route(self, name: str) -> Route | None: ...

    def is_misdirected(self, route: Route, name: str, scope: Scope) -> bool: ...

    def admits(self, environment_id: str, client: str) -> bool: ...

    def refusal(self, route: Route) -> str: ...


class GatewayApp:
    """Finds the route by Host among those of the request's entrance, then the answer."""

    def __init__(self, backstage: Backstage) -> None:
        self._backstage = backstage
        self.upstreams = Upstreams(backstage.limits)
        proofs = Proofs(backstage.environments)
        self._forwarder = Forwarder(self.upstreams, proofs, backstage.limits)
        # Connections of its own: those who read logs without end must not keep others from signing in.
        self.sign_in_upstreams = Upstreams(backstage.limits)
        self._sign_in = SignIn(backstage, proofs, self.sign_in_upstreams)
        self._oidc = OidcPages(backstage, self._sign_in)
        self._cli = CliBridge(backstage)
        self._turnstile = Turnstile(backstage.limits.per_user, backstage.limits.pool)

    async def __call__(self, entrance: Entrance, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, started = 0, time.monotonic()

        async def counted(event: Message) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
                event = {**event, "headers": secured(event["headers"])}
            await send(event)

        try:
            answer = await self._answer(entrance, scope, receive, counted)
        except Temporary as error:
            as_html = pages.wants_html(scope["method"], scope["headers"])
            seconds = max(1, round(error.retry_after))
            answer = pages.message(503, "Not available", str(error), as_html=as_html, retry_after=seconds)
        try:
            if answer is not None:
                await answer(scope, receive, counted)
        finally:
            # Without the query, which may hold anything; headers and bodies hold the credentials.
            host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "-")
            path, took = scope["raw_path"].decode("latin-1"), (time.monotonic() - started) * 1000
            access.info("%s %s %s %d %.0fms", host, scope["method"], path, status, took)

    async def _answer(self, entrance: Entrance, scope: Scope, receive: Receive, send: Send) -> Response | None:
        """The answer, or None when it has been sent already."""
        headers, raw_path = scope["headers"], scope["raw_path"]
        as_html = pages.wants_html(scope["method"], headers)
        try:
            host, body = host_header(headers), framing(headers)
        except BadRequest as error:
            return _closing(pages.message(400, "Bad request", str(error), as_html=False))
        if not raw_path.startswith(b"/"):
            return _closing(pages.message(400, "Bad request", "The request target is not a path.", as_html=False))
        if scope["method"] in _REFUSED_METHODS:
            return _closing(pages.message(405, "Method not allowed", "This method is not served.", as_html=False))
        if is_upgrade(headers):
            return _closing(pages.message(501, "Not implemented", "Web sockets are not served here.", as_html=False))
        where = split_host(host)
        route = entrance.route(where[0]) if where else None
        if where is None or route is None:
            text = (
                "No environment has this host name here. It may have been deleted, or its access mode changed; "
                "GetEnvironment names the WebserverUrl."
            )
            return pages.message(404, "No such environment", text, as_html=as_html)
        if entrance.is_misdirected(route, where[0], scope):
            text = "The connection was made to another host than the request asks for. Connect to it anew."
            return _closing(pages.message(421, "Misdirected request", text, as_html=as_html))
        if not entrance.admits(route.environment_id, scope["client"][0] if scope.get("client") else ""):
            return _closing(pages.message(403, "Forbidden", entrance.refusal(route), as_html=as_html))
        if paths.is_execution(raw_path):
            return pages.message(404, "Not Found", "There is nothing here.", as_html=as_html)
        own = paths.own_page(raw_path)
        if own is not None:
            return await self._own(own, route, host, where[1], scope, receive)
        return await self._airflow(route, host, where[1], body, scope, receive, send)

    async def _own(self, page: str, route: Route, host: str, port: int, scope: Scope, receive: Receive) -> Response:
        if page == paths.LOGIN:
            return await self._sign_in.login(route, host, port, scope, receive)
        if page == paths.CLI:
            return await self._cli.run(route, scope, receive)
        if page in (paths.OIDC_START, paths.OIDC_CALLBACK):
            return await self._oidc.answer(page, route, host, port, scope)
        if page == paths.SSO and scope["method"] in ("GET", "HEAD"):
            return pages.sso()
        as_html = pages.wants_html(scope["method"], scope["headers"])
        return pages.message(404, "Not Found", "There is nothing here.", as_html=as_html)

    async def _airflow(
        self, route: Route, host: str, port: int, body: Framing, scope: Scope, receive: Receive, send: Send
    ) -> Response | None:
        headers, raw_path = scope["headers"], scope["raw_path"]
        leaving = paths.is_logout(raw_path)
        admitted = await doors.admit(self._backstage, route, headers)
        if admitted is None:
            if leaving:
                return pages.signed_out(route)
            as_html = pages.wants_html(scope["method"], headers)
            return pages.sign_in(route, as_html=as_html, following=following(scope))
        if paths.is_login(raw_path, route.login_path):
            return pages.sign_in(route, as_html=pages.wants_html(scope["method"], headers))
        if leaving:
            await doors.leave(self._backstage, admitted)

        async def on_answer(answered: RawHeaderList) -> None:
            if not leaving:  # on the way out no new cookie continues the session
                await doors.follow_rotation(self._backstage, route, admitted, answered)

        standing = nullcontext() if leaving else doors.while_admitted(self._backstage, route, headers)
        begun = False

        async def noted(event: Message) -> None:
            nonlocal begun
            begun = True
            await send(event)

        try:
            async with (
                self._turnstile.turn((route.environment_id, admitted.session.principal.user)),
                standing,
            ):
                await self._forwarder.forward(route, host, port, body, on_answer, scope, receive, noted)
        except doors.Ended:  # an answer that has begun is cut off, so that nobody takes it for the whole
            return None if begun else _closing(pages.sign_in(route, as_html=pages.wants_html(scope["method"], headers)))
        except Full as error:
            text = f"{error} Close a log that is being followed, or send fewer at once."
            as_html = pages.wants_html(scope["method"], headers)
            return _closing(pages.message(429, "Too many requests", text, as_html=as_html, retry_after=5))
        return None


def _closing(answer: Response) -> Response:
    answer.headers["connection"] = "close"
    return answer

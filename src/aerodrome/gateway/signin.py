"""`POST …/login`: a web token in, Airflow's own cookies out (mwaa-spec 7.2; design: 'Open the UI').

Answers 200, never a redirect: `MwaaHook` posts with a client that follows redirects and reads the cookie from the
last answer.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope

from aerodrome.gateway import pages
from aerodrome.gateway.doors import open_session
from aerodrome.gateway.headers import IDENTITY, RawHeaders, fortified, forwarded, set_cookie, values
from aerodrome.gateway.identity import Proofs, sign
from aerodrome.gateway.ports import Backstage, Principal, Redeemed, Route
from aerodrome.gateway.turnstile import Full, Turnstile
from aerodrome.gateway.upstream import Away, Broken, Upstreams
from aerodrome.web import bodies

log = logging.getLogger("aerodrome.gateway")

_BODY_SIZE = 16 * 1024
_HOPS = 3  # Airflow hands the cookie out with its first or second redirect


@dataclass(slots=True)
class _Login:
    """What Airflow's login gave: its Set-Cookie headers, and the value of the cookie that is the session."""

    cookies: dict[str, bytes] = field(default_factory=dict)
    credential: str = ""


class Refused(Exception):
    """Nobody gets in to Airflow now. The message is for the user; `retry_after` is in seconds."""

    def __init__(self, status: int, title: str, text: str, *, retry_after: int = 0) -> None:
        super().__init__(text)
        self.status = status
        self.title = title
        self.retry_after = retry_after


class SignIn:
    """Redeems tokens and signs in to Airflow."""

    def __init__(self, backstage: Backstage, proofs: Proofs, upstreams: Upstreams) -> None:
        self._backstage = backstage
        self._proofs = proofs
        self._upstreams = upstreams
        # Airflow keeps the roles of a user's last sign-in: that must be the one whose session we write down last.
        self._one_by_one = Turnstile(1, backstage.limits.login)

    async def login(self, route: Route, host: str, port: int, scope: Scope, receive: Receive) -> Response:
        """Answer the request; refuses what another site's page posts (a victim would work under a stranger's name)."""
        if scope["method"] != "POST":
            return _refusal(405, "Method not allowed", "Post the web token as form field 'token'.", allow="POST")
        if not _same_site(scope["headers"], host):
            return _refusal(403, "Forbidden", "A sign-in may not be posted from another site.")
        try:
            body = await bodies.read(receive, _BODY_SIZE, self._backstage.limits.login)
        except bodies.TooLarge as error:
            return _refusal(413, "Too large", str(error))
        except bodies.Incomplete as error:
            return _refusal(408, "Request timeout", str(error))
        token = token_in(body, scope["headers"])
        if not token:
            return _refusal(400, "Bad request", "The request carries no web token: post it as form field 'token'.")
        if not route.upstreams:  # before the token is used up
            return _refusal(*_away(route, "Ask for a new token"), retry_after=5)
        redeemed = await self._backstage.tokens.redeem_web_token(token)
        if redeemed is None or redeemed.environment_id != route.environment_id:
            text = "The web token is not valid: it lasts 60 seconds, works once, and for its own environment alone."
            return _refusal(403, "Forbidden", text + " Ask CreateWebLoginToken for a new one.")
        try:
            set_cookies = await self.enter(route, host, port, redeemed, scope, again="Ask for a new token")
        except Refused as error:
            return _refusal(error.status, error.title, str(error), retry_after=error.retry_after)
        answer = pages.guarded(JSONResponse({"status": 200, "message": "Signed in", "redirect": "/"}))
        answer.raw_headers += [(b"set-cookie", each) for each in set_cookies]
        return answer

    async def enter(
        self, route: Route, host: str, port: int, redeemed: Redeemed, scope: Scope, *, again: str
    ) -> list[bytes]:
        """Sign in to Airflow and open the session; returns the Set-Cookie headers for the client.

        `again` says what to do after a failure that may pass.

        Raises:
            Refused.
        """
        if not route.upstreams:
            raise Refused(*_away(route, again), retry_after=5)
        try:
            async with self._one_by_one.turn((route.environment_id, redeemed.user)):
                return await self._enter(route, host, port, redeemed, scope, again)
        except Full as error:
            text = f"Other sign-ins of the same user are under way. {again} in a moment."
            raise Refused(503, "Not available yet", text, retry_after=5) from error

    async def _enter(
        self, route: Route, host: str, port: int, redeemed: Redeemed, scope: Scope, again: str
    ) -> list[bytes]:
        principal = redeemed.principal
        client = scope["client"][0] if scope.get("client") else "127.0.0.1"
        try:
            async with asyncio.timeout(self._backstage.limits.login):
                login = await self._airflow_login(route, host, port, principal, client)
        except Away as error:
            raise Refused(*_away(route, again), retry_after=5) from error
        except (Broken, TimeoutError) as error:
            text = f"The web server of environment {route.key.name} did not answer the sign-in. {again}."
            raise Refused(502, "Bad gateway", text, retry_after=5) from error
        if not login.credential:
            log.error("environment %s: Airflow took no sign-in of %s", route.environment_id, principal.user)
            text = f"Apache Airflow in environment {route.key.name} refused the sign-in of {principal.user}."
            raise Refused(502, "Bad gateway", text + " Its web server log says why.")
        if not await open_session(self._backstage, redeemed, login.credential):
            raise Refused(403, "Forbidden", f"The sign-in was revoked before it was done. {again}.")
        log.info("environment %s: %s signed in", route.environment_id, principal.user)
        return [fortified(cookie) for cookie in login.cookies.values()]

    async def _airflow_login(self, route: Route, host: str, port: int, principal: Principal, client: str) -> _Login:
        secret = await self._backstage.environments.identity_secret(route.environment_id)
        identity = sign(secret, route.environment_id, principal, self._backstage.now())
        proof = await self._proofs.header(route.environment_id)
        result, target = _Login(), route.login_path.encode()
        for _ in range(_HOPS):
            headers = [
                (b"host", host.encode("latin-1")),
                (b"accept", b"text/html"),
                (IDENTITY, identity),
                proof,
                *forwarded(client, host, port),
            ]
            if result.cookies:
                headers.append((b"cookie", b"; ".join(each.partition(b";")[0] for each in result.cookies.values())))
            following = await self._step(route, target, headers, result)
            if result.credential or following is None:
                break
            target = following
        return result

    async def _step(
        self, route: Route, target: bytes, headers: list[tuple[bytes, bytes]], result: _Login
    ) -> bytes | None:
        """One request of the login: collects cookies, returns where Airflow redirects to."""
        response = await self._upstreams.send(route, "GET", target, headers)
        await response.aclose()
        answered = [(name.lower(), value) for name, value in response.headers]
        for value in values(answered, b"set-cookie"):
            name, content = set_cookie(value)
            result.cookies[name] = value
            if name == route.cookie_name and content and response.status < 400:
                result.credential = content
        location = b"".join(values(answered, b"location")[:1]).decode("latin-1")
        path = urlsplit(location).path
        return path.encode("latin-1") if 300 <= response.status < 400 and path.startswith("/") else None


def token_in(body: bytes, headers: RawHeaders) -> str | None:
    """The web token of a form (`token=…`) or of a JSON object (`{"token": …}`)."""
    content_type = b"".join(values(headers, b"content-type")[:1]).lower()
    try:
        if content_type.startswith(b"application/json"):
            parsed = json.loads(body)
            token = parsed.get("token") if isinstance(parsed, dict) else None
        else:
            token = parse_qs(body.decode("ascii"), max_num_fields=10).get("token", [None])[-1]
    except (ValueError, RecursionError):
        return None
    return token if isinstance(token, str) and token else None


def _same_site(headers: RawHeaders, host: str) -> bool:
    """Browsers say where a POST comes from; other clients say nothing."""
    origins = values(headers, b"origin")
    if origins and origins != [f"https://{host}".encode("latin-1")]:
        return False
    return values(headers, b"sec-fetch-site") in ([], [b"same-origin"], [b"none"])


def _away(route: Route, again: str) -> tuple[int, str, str]:
    text = f"The web server of environment {route.key.name} is not up. {again} in a moment."
    return 503, "Not available yet", text


def _refusal(status: int, title: str, text: str, *, retry_after: int = 0, allow: str = "") -> Response:
    answer = pages.message(status, title, text, as_html=False, retry_after=retry_after)
    if allow:
        answer.headers["allow"] = allow
    return answer

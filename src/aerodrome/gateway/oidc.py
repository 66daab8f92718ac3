"""`GET …/oidc/start` and `GET …/oidc/callback`: in through the identity provider (decision 0015).

The first sends the browser to the provider, the second is where the provider sends it back to. After that everything is
as after a web token: Airflow's own login, its cookies, a session.
"""

from __future__ import annotations

import hmac
import logging
from urllib.parse import parse_qsl

from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from aerodrome.gateway import pages, paths
from aerodrome.gateway.headers import cookies
from aerodrome.gateway.ports import Backstage, Oidc, Route
from aerodrome.gateway.signin import Refused, SignIn
from aerodrome.gateway.turnstile import Full, Turnstile
from aerodrome.identity.oidc.attempts import LIFETIME, Begun
from aerodrome.identity.oidc.errors import SignInError, error_code

log = logging.getLogger("aerodrome.gateway")

# The prefix is a promise of browsers: it came from this very host, over TLS.
COOKIE = "__Host-aerodrome-oidc"
_FIELDS = 20  # of a query
_LONGEST = 8 * 1024  # characters of one; codes of some providers have 2 KB


class _Failed(Exception):
    """The sign-in ends with a page that says why."""

    def __init__(self, status: int, title: str, text: str, *, keep_cookie: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.title = title
        self.keep_cookie = keep_cookie


class OidcPages:
    """Answers under every environment whose StartUrl is the provider's issuer, 404 under the others."""

    def __init__(self, backstage: Backstage, sign_in: SignIn) -> None:
        self._oidc = backstage.oidc
        self._sign_in = sign_in
        self._turnstile = Turnstile(backstage.limits.provider_calls, backstage.limits.pool)

    async def answer(self, page: str, route: Route, host: str, port: int, scope: Scope) -> Response:
        """Answer the request, with a page whatever happens: a person looks at it."""
        oidc = self._oidc
        if oidc is None or route.issuer != oidc.provider.issuer:
            text = f"People don't sign in to environment {route.key.name} through an identity provider."
            return pages.message(404, "Not Found", text, as_html=True)
        if scope["method"] != "GET":
            answer = pages.message(405, "Method not allowed", "Open this address in a browser.", as_html=True)
            answer.headers["allow"] = "GET"
            return answer
        try:
            async with self._turnstile.turn("provider"):
                if page == paths.OIDC_START:
                    return await self._start(oidc, route, host, scope)
                return await self._callback(oidc, route, host, port, scope)
        except _Failed as error:
            return _failure(route, error, keep_cookie=error.keep_cookie)
        except SignInError as error:
            title = "Not signed in" if error.status < 500 else "The identity provider can't be used"
            return _failure(route, _Failed(error.status, title, str(error)))
        except Full:
            text = "Too many people are signing in at this moment. Try again shortly."
            return _failure(route, _Failed(503, "Not available yet", text, keep_cookie=True), keep_cookie=True)

    async def _start(self, oidc: Oidc, route: Route, host: str, scope: Scope) -> Response:
        wanted = _query(scope).get("next", "/")
        if not paths.is_local(wanted):
            raise _Failed(400, "Bad request", "The address to go to afterwards is not one of this environment.")
        begun, cookie = oidc.attempts.begin(route.environment_id, _redirect_uri(host), wanted)
        answer = RedirectResponse(await oidc.provider.authorization_url(begun.attempt), 303)
        # Lax: the provider sends the browser back from another site.
        answer.set_cookie(COOKIE, cookie, max_age=LIFETIME, path="/", secure=True, httponly=True, samesite="lax")
        return pages.guarded(answer)

    async def _callback(self, oidc: Oidc, route: Route, host: str, port: int, scope: Scope) -> Response:
        query = _query(scope)
        begun = self._begun(oidc, route, host, scope, query.get("state", ""))
        await oidc.provider.check_issuer(query.get("iss"))
        if "error" in query:
            raise _Failed(403, "Not signed in", _told(oidc.provider.name, query["error"]))
        code = query.get("code")
        if not code:
            raise _Failed(400, "Bad request", f"{oidc.provider.name} sent no sign-in code.")
        if not oidc.attempts.use(begun):
            raise _Failed(403, "Not signed in", "This answer of the identity provider was used before.")
        person = await oidc.provider.person(code, begun.attempt)
        client = scope["client"][0] if scope.get("client") else "127.0.0.1"
        redeemed = await oidc.people.admit_person(route.environment_id, person, client)
        if redeemed is None:
            log.warning("environment %s: %s has no Airflow role", route.environment_id, person.name)
            raise _Failed(403, "No Airflow role granted", _no_role(oidc, route, person.name))
        try:
            set_cookies = await self._sign_in.enter(route, host, port, redeemed, scope, again="Sign in again")
        except Refused as error:
            raise _Failed(error.status, error.title, str(error)) from error
        answer = _forgotten(pages.guarded(RedirectResponse(begun.following, 303)))
        answer.raw_headers += [(b"set-cookie", each) for each in set_cookies]
        return answer

    def _begun(self, oidc: Oidc, route: Route, host: str, scope: Scope, state: str) -> Begun:
        shown = cookies(scope["headers"], COOKIE)
        begun = oidc.attempts.read(shown[0], route.environment_id, _redirect_uri(host)) if len(shown) == 1 else None
        if begun is None:
            text = "This sign-in began in another browser, or more than ten minutes ago."
            raise _Failed(400, "Not signed in", text, keep_cookie=True)
        if not hmac.compare_digest(begun.attempt.state.encode(), state.encode()):
            # Not the browser's fault, so what it began itself may still be ended.
            raise _Failed(400, "Not signed in", "This answer belongs to another sign-in.", keep_cookie=True)
        return begun


def following(scope: Scope) -> str:
    """Where to go when somebody who asked for this has signed in; `/` when that is no place to come back to."""
    path, query = scope["raw_path"], scope["query_string"]
    target = (path + (b"?" + query if query else b"")).decode("latin-1")
    own = paths.own_page(path) is not None or paths.is_logout(path)
    return target if scope["method"] == "GET" and paths.is_local(target) and not own else "/"


def _redirect_uri(host: str) -> str:
    return paths.oidc_url(host.lower(), paths.OIDC_CALLBACK)


def _query(scope: Scope) -> dict[str, str]:
    """The query's fields; one that is there twice could be read in two ways."""
    text = scope["query_string"].decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS, errors="strict")
    except ValueError:
        pairs = []
    fields = dict(pairs)
    if len(text) > _LONGEST or len(fields) < len(pairs) or (text and not pairs):
        raise _Failed(400, "Bad request", "The address has a query that can't be read.", keep_cookie=True)
    return fields


def _told(name: str, error: str) -> str:
    code = error_code(error)
    if code == "access_denied":
        return f"{name} did not let you in, or you declined (access_denied)."
    if code in ("temporarily_unavailable", "server_error"):
        return f"{name} has a problem of its own ({code}). Try again in a moment."
    return f"{name} refused the sign-in ({code}). If it goes on, its registration of this installation may be wrong."


def _no_role(oidc: Oidc, route: Route, person: str) -> str:
    return (
        f"{oidc.provider.name} knows you as {person}, but no group in its claim '{oidc.groups_claim}' has a role in "
        f"environment {route.key.name}. Ask your administrator to add you to a group that AERODROME_OIDC_ROLES names, "
        f"or to name one of yours there; or, if you are in one, to have the claim '{oidc.groups_claim}' sent."
    )


def _failure(route: Route, error: _Failed, *, keep_cookie: bool = False) -> Response:
    log.warning("environment %s: a sign-in came to nothing: %s", route.environment_id, error)
    answer = pages.not_signed_in(error.status, error.title, str(error))
    return answer if keep_cookie else _forgotten(answer)


def _forgotten(answer: Response) -> Response:
    answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return answer

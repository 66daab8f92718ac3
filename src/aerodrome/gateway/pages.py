"""Pages and JSON answers of the gateway itself: self-contained, never cached, under a strict content policy."""

from __future__ import annotations

import html
import secrets
from urllib.parse import urlencode, urlsplit

from starlette.responses import HTMLResponse, JSONResponse, Response

from aerodrome.gateway.headers import RawHeaders, values
from aerodrome.gateway.paths import OIDC_START, PREFIXES, prefix
from aerodrome.gateway.ports import Route

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:12vh auto;padding:0 1.5rem;"
    "color:#1b2733;background:#fff}"
    "h1{font-size:1.4rem;font-weight:600}pre{background:#f2f5f8;padding:.8rem 1rem;border-radius:6px;overflow-x:auto}"
    "a.button{display:inline-block;padding:.5rem 1rem;border-radius:6px;background:#0b5cad;color:#fff;"
    "text-decoration:none}"
    "@media(prefers-color-scheme:dark){body{color:#dfe7ee;background:#12181e}pre{background:#1e2831}}"
)
# The token leaves the address bar before anything else happens, so that history never holds it.
_SSO_SCRIPT = """
const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
const say = (text) => { document.getElementById("state").textContent = text; };
if (!token) {
  say("This address carries no sign-in token. Ask for a new one.");
} else {
  const login = location.pathname.replace(/aws-console-sso\\/?$/, "login");
  fetch(login, {
    method: "POST", body: new URLSearchParams({ token }), credentials: "same-origin",
    headers: { Accept: "application/json" },
  }).then(async (answer) => {
    if (answer.ok) { location.replace("/"); return; }
    const body = await answer.json().catch(() => ({}));
    say(body.message || "The sign-in failed with status " + answer.status + ".");
  }).catch(() => say("The web server did not answer. Ask for a new token and try again."));
}
"""


def wants_html(method: str, headers: RawHeaders) -> bool:
    """Whether a person looks at the answer: a browser's navigation says text/html, scripts and clients don't."""
    return method in ("GET", "HEAD") and any(b"text/html" in value.lower() for value in values(headers, b"accept"))


def _page(title: str, body: str, status: int, *, script: str = "", refresh: int = 0) -> Response:
    nonce = secrets.token_urlsafe(16)
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        + (f'<meta http-equiv="refresh" content="{refresh}">' if refresh else "")
        + f'<title>{html.escape(title)}</title><style nonce="{nonce}">{_STYLE}</style></head>'
        f"<body><h1>{html.escape(title)}</h1>{body}"
        + (f'<script nonce="{nonce}">{script}</script>' if script else "")
        + "</body></html>"
    )
    answer = HTMLResponse(text, status)
    sources = f"style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'"
    answer.headers["content-security-policy"] = (
        f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return answer


def guarded(answer: Response) -> Response:
    """Security headers that every answer of our own carries."""
    answer.headers.update(
        {
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "cross-origin-opener-policy": "same-origin",
        }
    )
    return answer


def message(status: int, title: str, text: str, *, as_html: bool, retry_after: int = 0) -> Response:
    """An answer that says one thing. With `retry_after` (seconds) a page loads itself again."""
    if as_html:
        answer = _page(title, f"<p>{html.escape(text)}</p>", status, refresh=retry_after)
    else:
        answer = JSONResponse({"status": status, "title": title, "detail": text, "message": text}, status)
    if retry_after:
        answer.headers["retry-after"] = str(retry_after)
    return guarded(answer)


def sso() -> Response:
    """The page behind the sign-in address: its script posts the fragment to `login`, then goes to `/`."""
    body = '<p id="state" role="status">One moment.</p><noscript><p>Signing in needs JavaScript.</p></noscript>'
    return guarded(_page("Signing in to Apache Airflow", body, 200, script=_SSO_SCRIPT))


def sign_in(route: Route, *, as_html: bool, following: str = "/") -> Response:
    """401: how to sign in. For API callers the same in JSON. `following`: where to go afterwards."""
    name, region = route.key.name, route.key.region
    login = f"https://{route.host}{prefix(route.airflow_major)}/login"
    if not as_html:
        text = (
            f"Not signed in to environment {name}, or the session has ended (it lasts 12 hours). "
            f"Get a token with CreateWebLoginToken and post it as form field 'token' to {login}."
        )
        answer = message(401, "Unauthorized", text, as_html=False)
        answer.headers["www-authenticate"] = f'Bearer realm="{name}"'
        return answer
    url = f"https://{route.host}{prefix(route.airflow_major)}/aws-console-sso?login=true"
    body = (
        f"<p>You are not signed in to the environment <b>{html.escape(name)}</b>, or your session has ended "
        f"(it lasts 12 hours).</p>{_through_provider(route, following)}<p>Open it from a shell:</p>"
        f"<pre>aerodrome env open {html.escape(name)} --region {html.escape(region)}</pre>"
        "<p>or get a token, and open the address below with the token behind the <code>#</code> within 60 seconds:</p>"
        f"<pre>aws mwaa create-web-login-token --name {html.escape(name)} --region {html.escape(region)} \\\n"
        f"    --query WebToken --output text\n\n{html.escape(url)}#TOKEN</pre>"
    )
    return guarded(_page("Sign in to Apache Airflow", body, 401))


def _through_provider(route: Route, following: str) -> str:
    if route.issuer is None:
        return ""
    address = f"{PREFIXES[0]}/{OIDC_START}?{urlencode({'next': following})}"
    host = urlsplit(route.issuer).netloc
    return f'<p><a class="button" href="{html.escape(address)}">Sign in with {html.escape(host)}</a></p>'


def not_signed_in(status: int, title: str, text: str) -> Response:
    """A sign-in through the identity provider that came to nothing, for the person in front of the browser."""
    link = f'<p><a href="{PREFIXES[0]}/{OIDC_START}">Try again</a> or <a href="/">see other ways to sign in</a>.</p>'
    return guarded(_page(title, f"<p>{html.escape(text)}</p>{link}", status))


def signed_out(route: Route) -> Response:
    """After Airflow's own way out: forget its cookies too."""
    answer = message(200, "Signed out", f"You are signed out of environment {route.key.name}.", as_html=True)
    for cookie in sorted({"session", "_token", route.cookie_name}):
        answer.delete_cookie(cookie, path="/", secure=True, httponly=True, samesite="lax")
    return answer

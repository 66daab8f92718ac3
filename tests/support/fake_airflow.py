"""What InvokeRestApi sees of an Airflow web server: its login and its REST API, with answers that a test chooses."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aerodrome.domain import versions


@dataclass(frozen=True)
class Asked:
    """A request that reached the REST API."""

    method: str
    path: str  # percent-encoded, as it came
    query: str
    body: bytes
    content_type: str
    accept: str


@dataclass
class FakeAirflow:
    """An ASGI application. `token` is what a sign-in gets; a request with another one is 401."""

    version: versions.AirflowVersion
    asked: list[Asked] = field(default_factory=list)
    sign_ins: int = 0
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    token: str = "t0"
    silent: bool = False

    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        """From now on; `body` is bytes, or anything that JSON has."""
        self.status, self.body = status, body if isinstance(body, bytes) else json.dumps(body).encode()
        self.headers = {"content-type": "application/json", **headers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.url.path == self.version.login_path:
            self.sign_ins += 1
            response = Response(status_code=302)
            response.set_cookie(self.version.cookie, self.token)
            await response(scope, receive, send)
            return
        shown = request.headers.get("authorization") if self.version.bearer else request.cookies[self.version.cookie]
        if shown not in (self.token, f"Bearer {self.token}"):
            await Response(b"{}", 401, {"content-type": "application/json"})(scope, receive, send)
            return
        body = await request.body()
        kind = request.headers.get("content-type", "")
        path, query = scope["raw_path"].decode("ascii"), scope["query_string"].decode("ascii")
        accept = request.headers.get("accept", "")
        self.asked.append(Asked(request.method, path, query, body, kind, accept))
        if self.silent:
            while (await receive())["type"] != "http.disconnect":
                pass
        await Response(self.body, self.status, self.headers)(scope, receive, send)

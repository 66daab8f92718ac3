"""The web server answers the gateway and the control plane, nobody else who finds its port.

They show a proof in every request, derived from the secret that only they share with the web server. Airflow's own
tokens would do for most paths; but the gateway knows which of them were revoked, and Airflow doesn't. Tasks have a port
of their own (`shared_port`), at which there is nothing but the API that they report to, with tokens of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

HEADER = "X-Aerodrome-Gateway"
_RAW = HEADER.lower().encode()
_WSGI = "HTTP_X_AERODROME_GATEWAY"
_EXECUTION = "/execution"
_REFUSAL = b'{"detail": "This web server is reached through the gateway.", "status": 401, "title": "Unauthorized"}'
_NO_TOKEN = b'{"detail": "This is for tasks, which have a token.", "status": 401, "title": "Unauthorized"}'
_NOTHING = b'{"detail": "Not Found"}'

Asgi = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]
Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


def proof(secret: str, environment: str) -> str:
    """What the header says: it opens nothing but the door, and signs nobody in."""
    return hmac.new(secret.encode(), b"gateway/" + environment.encode(), hashlib.sha256).hexdigest()


def expected(variables: Mapping[str, str] = os.environ) -> bytes | None:
    """Of this process; None: it has no secret, so that nothing can be right."""
    secret, environment = variables.get("AERODROME_IDENTITY_SECRET"), variables.get("AIRFLOW_ENV_ID")
    return proof(secret, environment).encode() if secret and environment else None


class Door:
    """Around Airflow 3's web server (ASGI). `tasks_port`: the port at which tasks report, if there is one."""

    def __init__(self, app: Asgi, wanted: bytes | None, tasks_port: int | None) -> None:
        self._app = app
        self._wanted = wanted
        self._tasks_port = tasks_port

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif self._tasks_port is not None and scope["server"][1] == self._tasks_port:
            path = scope["path"]
            if not (path == _EXECUTION or path.startswith(_EXECUTION + "/")):
                await _answer(send, 404, _NOTHING)
            elif not any(name == b"authorization" for name, _ in scope["headers"]):  # Airflow would show some pages
                await _answer(send, 401, _NO_TOKEN)
            else:
                await self._app(scope, receive, send)
        else:
            shown = [value for name, value in scope["headers"] if name == _RAW]
            if len(shown) == 1 and _same(shown[0], self._wanted):
                scope["headers"] = [pair for pair in scope["headers"] if pair[0] != _RAW]
                await self._app(scope, receive, send)
            else:
                await _answer(send, 401, _REFUSAL)


def closed(app: Wsgi, wanted: bytes | None) -> Wsgi:
    """Around Airflow 2's web server."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if _same(environ.pop(_WSGI, "").encode("latin-1"), wanted):
            return app(environ, start_response)
        size = str(len(_REFUSAL))
        start_response("401 Unauthorized", [("Content-Type", "application/json"), ("Content-Length", size)])
        return [_REFUSAL]

    return answer


def install() -> None:
    """Put the door before every application that uvicorn serves in this process."""
    from uvicorn import Config

    load, port = Config.load, os.environ.get("AERODROME_SHARED_PORT")

    def load_closed(config: Any) -> None:
        load(config)
        config.loaded_app = Door(config.loaded_app, expected(), int(port) if port else None)

    Config.load = load_closed  # type: ignore[method-assign]


def _same(shown: bytes, wanted: bytes | None) -> bool:
    return wanted is not None and hmac.compare_digest(shown, wanted)


async def _answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""InvokeRestApi: a call of Airflow's own REST API as the caller, with the caller's roles (mwaa-spec 1.7)."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import httpx

from aerodrome.api.call import Call, Output
from aerodrome.api.context import Context
from aerodrome.domain import versions
from aerodrome.domain.environment import Environment
from aerodrome.errors import ApiError
from aerodrome.identity.assertion import sign

_TIMEOUT = 10.0  # seconds, MWAA's own limit
_BODY_LIMIT = 6 * 1024 * 1024  # bytes of an answer, MWAA's own limit
_SESSION = 600.0  # seconds that a sign-in is used again
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class _Sessions:
    """Airflow sessions of (environment, user, roles), so that not every call signs in first."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, str, tuple[str, ...]], tuple[str, float]] = {}

    def get(self, key: tuple[str, str, tuple[str, ...]]) -> str | None:
        token, until = self._tokens.get(key, ("", 0.0))
        return token if until > time.monotonic() else None

    def put(self, key: tuple[str, str, tuple[str, ...]], token: str) -> None:
        now = time.monotonic()
        self._tokens = {name: value for name, value in self._tokens.items() if value[1] > now}
        self._tokens[key] = (token, now + _SESSION)

    def drop(self, key: tuple[str, str, tuple[str, ...]]) -> None:
        self._tokens.pop(key, None)


_sessions = _Sessions()


async def invoke(context: Context, environment: Environment, call: Call, username: str, roles: Sequence[str]) -> Output:
    """Forward `Path`, `Method`, `QueryParameters`, `Body`.

    Raises:
        ApiError: RestApiClientException for Airflow's 4xx, RestApiServerException for its 5xx, its silence and its
            non-JSON answers; both with `RestApiStatusCode` and `RestApiResponse`.
    """
    servers = await context.upstreams.web_servers(environment)
    if not servers:
        raise _server_error(503, "The web server is starting again; try again in a few seconds.")
    version = versions.get(environment.desired["AirflowVersion"])
    path, _, query = call.params["Path"].partition("?")
    parameters = [*parse_qsl(query, keep_blank_values=True), *_flatten(call.params.get("QueryParameters"))]
    method, body = call.params["Method"], call.params.get("Body")
    key = (environment.id, username, tuple(sorted(roles)))
    try:
        async with httpx.AsyncClient(base_url=f"http://{servers[0]}", timeout=_TIMEOUT, trust_env=False) as client:
            for attempt in (1, 2):
                token = _sessions.get(key) or await _sign_in(
                    context, client, environment, version, username, roles, call
                )
                _sessions.put(key, token)
                response = await client.request(
                    method,
                    f"{version.api_prefix}/{path.lstrip('/')}",
                    params=parameters or None,
                    json=body if method in _METHODS_WITH_BODY and body is not None else None,
                    headers={"Authorization": f"Bearer {token}"} if version.bearer else {},
                    cookies=None if version.bearer else {version.cookie: token},
                )
                if response.status_code != 401 or attempt == 2:
                    break
                _sessions.drop(key)  # the web server has another secret by now, or forgot us
    except httpx.TimeoutException as error:
        raise _server_error(504, f"Airflow did not answer within {_TIMEOUT:.0f} s.") from error
    except httpx.HTTPError as error:
        raise _server_error(503, f"Airflow's web server can't be reached: {error or type(error).__name__}.") from error
    return _answer(response)


def _answer(response: httpx.Response) -> Output:
    status = response.status_code
    if len(response.content) > _BODY_LIMIT:
        raise _server_error(413, f"Airflow's answer is larger than {_BODY_LIMIT} bytes; ask for less (limit, offset).")
    try:
        document: Any = response.json() if response.content else {}
    except json.JSONDecodeError:
        document = {"detail": response.text[:2000], "status": status, "title": "Not a JSON answer"}
    if not isinstance(document, dict):
        document = {"value": document}
    if status < 400:
        return {"RestApiStatusCode": status, "RestApiResponse": document}
    detail = document.get("detail") or document.get("title") or response.reason_phrase
    code = "RestApiClientException" if status < 500 else "RestApiServerException"
    members = {"RestApiStatusCode": status, "RestApiResponse": document}
    raise ApiError(code, f"Airflow answered {status}: {detail}", 400, members)


def _server_error(status: int, detail: str) -> ApiError:
    response = {"detail": detail, "status": status, "title": "Airflow is not available", "type": "about:blank"}
    members = {"RestApiStatusCode": status, "RestApiResponse": response}
    return ApiError("RestApiServerException", detail, 400, members)


async def _sign_in(
    context: Context,
    client: httpx.AsyncClient,
    environment: Environment,
    version: versions.AirflowVersion,
    username: str,
    roles: Sequence[str],
    call: Call,
) -> str:
    secrets = await context.store.secrets(environment.id)
    if secrets is None:
        raise _server_error(503, "The environment is being deleted.")
    identity = sign(
        secrets.identity_secret.encode(), environment.id, username, call.caller.iam_identity, roles, context.now()
    ).decode()
    response = await client.get(version.login_path, headers={versions.IDENTITY_HEADER: identity})
    token = response.cookies.get(version.cookie)
    if token is None:
        raise _server_error(502, f"Airflow refused the sign-in ({response.status_code}).")
    return str(token)


def _flatten(parameters: Any) -> list[tuple[str, str]]:
    """QueryParameters is any JSON object: lists repeat the name, booleans are lower case, the rest is text."""
    pairs: list[tuple[str, str]] = []
    for name, value in (parameters or {}).items():
        for item in value if isinstance(value, list) else [value]:
            text = item if isinstance(item, str) else json.dumps(item)
            pairs.append((str(name), text))
    return pairs

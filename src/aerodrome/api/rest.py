"""InvokeRestApi: a call of Airflow's own REST API as the caller, with the caller's roles (mwaa-spec 1.7)."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote

import httpx

from aerodrome.api.call import Call, Output
from aerodrome.api.context import Context
from aerodrome.domain import versions
from aerodrome.domain.environment import Environment
from aerodrome.domain.secrets import gateway_proof
from aerodrome.errors import ApiError, validation_error
from aerodrome.identity.assertion import sign

_TIMEOUT = 10.0  # seconds, MWAA's own limit
_BODY_LIMIT = 6 * 1024 * 1024  # bytes of an answer, MWAA's own limit
_JSON = "application/json, */*;q=0.5"  # logs and the configuration would come as text
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


async def invoke(context: Context, environment: Environment, call: Call, username: str, roles: Sequence[str]) -> Output:
    """Forward `Path`, `Method`, `QueryParameters`, `Body`.

    Raises:
        ApiError: RestApiClientException for Airflow's 4xx, RestApiServerException for its 5xx and its silence, both
            with `RestApiStatusCode` and `RestApiResponse`; ValidationException for a path out of the API.
    """
    servers = await context.upstreams.web_servers(environment)
    if not servers:
        raise _server_error(503, "The web server is starting again; try again in a few seconds.")
    version = versions.get(environment.desired["AirflowVersion"])
    url, parameters = _target(version, call)
    method, body = call.params["Method"], call.params.get("Body")
    sent_body = body if method in _METHODS_WITH_BODY and body is not None else None
    try:
        async with (
            asyncio.timeout(_TIMEOUT),
            httpx.AsyncClient(base_url=f"http://{servers[0]}", timeout=_TIMEOUT, trust_env=False) as client,
        ):
            for attempt in (1, 2):
                sign_in = partial(_sign_in, context, client, environment, version, username, roles, call)
                async with context.sessions.session(environment.id, username, roles, sign_in) as signed:
                    request = client.build_request(
                        method,
                        url,
                        params=httpx.QueryParams(parameters) if parameters else None,
                        json=sent_body,
                        headers={"Accept": _JSON, **signed},
                    )
                    response = await _send(client, request)
                if response.status_code != 401 or attempt == 2:
                    break
                context.sessions.forget(environment.id, username)  # the web server has another secret by now
    except httpx.InvalidURL as error:
        raise validation_error(f"QueryParameters: they make no URL ({error}); ask for less at once.") from error
    except (TimeoutError, httpx.TimeoutException) as error:
        raise _server_error(504, f"Airflow did not answer within {_TIMEOUT:.0f} s.") from error
    except httpx.HTTPError as error:
        raise _server_error(503, f"Airflow's web server can't be reached: {error or type(error).__name__}.") from error
    return _answer(response)


def _target(
    version: versions.AirflowVersion, call: Call
) -> tuple[str, list[tuple[str, str | int | float | bool | None]]]:
    """The path below Airflow's API, and the query: what `Path` brings of it, then QueryParameters.

    Raises:
        ApiError: ValidationException for a path that would lead out of the API, and for parameters without names.
    """
    path, _, query = call.params["Path"].partition("?")
    segments = unquote(path).replace("\\", "/").split("/")
    if not path.isprintable() or "#" in path or {".", ".."} & set(segments):
        raise validation_error(
            "Path: it must be a path of Airflow's REST API such as /dags, percent-encoded, without . and .. in it."
        )
    given = call.params.get("QueryParameters")
    if not isinstance(given, dict | None):
        raise validation_error("QueryParameters: it must be a JSON object of names and values.")
    parameters = [*parse_qsl(query, keep_blank_values=True), *_flatten(given or {})]
    return f"{version.api_prefix}/{path.lstrip('/')}", parameters


async def _send(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """The answer, read no further than MWAA's limit."""
    response = await client.send(request, stream=True)
    try:
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > _BODY_LIMIT:
                raise _server_error(413, f"Airflow's answer is larger than {_BODY_LIMIT} bytes; ask for less.")
    finally:
        await response.aclose()
    return httpx.Response(response.status_code, headers=_plain(response.headers), content=bytes(content))


def _plain(headers: httpx.Headers) -> dict[str, str]:
    """The headers of a body that has been decoded."""
    return {
        name: value for name, value in headers.items() if name.lower() not in ("content-encoding", "content-length")
    }


def _answer(response: httpx.Response) -> Output:
    """Any 2xx is a success; a redirection is told, not followed."""
    status = response.status_code
    document = _document(response)
    if status < 300:
        return {"RestApiStatusCode": status, "RestApiResponse": document}
    detail = document.get("detail") or document.get("title") or response.reason_phrase
    if status < 400:
        detail = f"{response.reason_phrase}: ask for {response.headers.get('location', 'another path')} instead"
    if not isinstance(detail, str):
        detail = json.dumps(detail)
    code = "RestApiClientException" if status < 500 else "RestApiServerException"
    members = {"RestApiStatusCode": status, "RestApiResponse": document}
    raise ApiError(code, f"Airflow answered {status}: {detail}", 400, members)


def _document(response: httpx.Response) -> dict[str, Any]:
    """The body as a JSON object, whatever Airflow answered; numbers that JSON doesn't have become text."""
    try:
        document = json.loads(response.content, parse_constant=str, parse_float=_number) if response.content else {}
    except (ValueError, RecursionError):
        return {"detail": response.text[:2000], "status": response.status_code, "title": "Not a JSON answer"}
    return document if isinstance(document, dict) else {"value": document}


def _number(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


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
) -> Mapping[str, str]:
    """Headers that stand for the user."""
    secrets = await context.store.secrets(environment.id)
    if secrets is None:
        raise _server_error(503, "The environment is being deleted.")
    secret = secrets.identity_secret.encode()
    identity = sign(secret, environment.id, username, call.caller.iam_identity, roles, context.now()).decode()
    shown = {versions.PROOF_HEADER: gateway_proof(secrets.identity_secret, environment.id)}
    response = await client.get(version.login_path, headers={versions.IDENTITY_HEADER: identity, **shown})
    token = response.cookies.get(version.cookie)
    if token is None:
        raise _server_error(502, f"Airflow refused the sign-in ({response.status_code}).")
    client.cookies.clear()  # what the caller sends is said here alone
    return shown | ({"Authorization": f"Bearer {token}"} if version.bearer else {"Cookie": f"{version.cookie}={token}"})


def _flatten(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lists repeat the name, null is left out, booleans are lower case, what is no text is spelled as in JSON."""
    return [
        (name, item if isinstance(item, str) else json.dumps(item))
        for name, value in parameters.items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    ]

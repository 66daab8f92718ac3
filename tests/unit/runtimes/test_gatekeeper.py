"""The web server's door: opened by the gateway's proof, whatever else a request says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from aerodrome.domain.secrets import gateway_proof
from aerodrome.domain.versions import PROOF_HEADER
from aerodrome_airflow import gatekeeper

ENVIRONMENT, SECRET, TASKS = "0123456789ab", "s" * 43, 8801
PROOF = gateway_proof(SECRET, ENVIRONMENT).encode()
NAME = PROOF_HEADER.lower().encode()
OTHERS = [
    b"",
    b"x",
    PROOF[:-1],
    PROOF + b"0",
    PROOF.upper(),
    b" " + PROOF,
    gateway_proof("t" * 43, ENVIRONMENT).encode(),
    gateway_proof(SECRET, "fedcba987654").encode(),
    b"\xff\xfe",
]


def test_both_sides_mean_the_same() -> None:
    variables = {"AERODROME_IDENTITY_SECRET": SECRET, "AIRFLOW_ENV_ID": ENVIRONMENT}
    assert gatekeeper.expected(variables) == PROOF
    assert gatekeeper.HEADER == PROOF_HEADER


@pytest.mark.parametrize("variables", [{}, {"AIRFLOW_ENV_ID": ENVIRONMENT}, {"AERODROME_IDENTITY_SECRET": SECRET}])
def test_without_a_secret_nothing_is_right(variables: dict[str, str]) -> None:
    assert gatekeeper.expected(variables) is None


async def asked(
    *headers: tuple[bytes, bytes], path: str = "/dags", port: int = 8800, wanted: bytes | None = PROOF
) -> tuple[int, list[dict[str, Any]]]:
    """The status, and the scopes that reached the application behind the door."""
    inside, said = [], []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        inside.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(event: dict[str, Any]) -> None:
        said.append(event)

    scope = {"type": "http", "path": path, "headers": list(headers), "server": ("127.0.0.1", port)}
    await gatekeeper.Door(app, wanted, TASKS)(scope, None, send)
    return said[0]["status"], inside


async def test_with_the_proof_the_request_goes_in_without_it() -> None:
    status, inside = await asked((b"cookie", b"a=b"), (NAME, PROOF))
    assert status == 200
    assert inside[0]["headers"] == [(b"cookie", b"a=b")]


@pytest.mark.parametrize("shown", OTHERS)
async def test_without_it_nothing_does(shown: bytes) -> None:
    assert await asked((NAME, shown), (b"cookie", b"session=x")) == (401, [])


@pytest.mark.parametrize("path", ["/", "/api/v2/monitor/health", "/execution/health", "/auth/login/", "/static/a.js"])
async def test_no_path_is_open(path: str) -> None:
    assert await asked(path=path) == (401, [])


async def test_twice_is_not_once() -> None:
    assert await asked((NAME, PROOF), (NAME, b"x")) == (401, [])
    assert await asked((NAME, b"x"), (NAME, PROOF)) == (401, [])


async def test_where_no_secret_is_set_nobody_gets_in() -> None:
    for shown in (b"", b"None", PROOF):
        assert await asked((NAME, shown), wanted=None) == (401, [])


@pytest.mark.parametrize("path", ["/execution", "/execution/task-instances/1/run"])
async def test_tasks_reach_their_api_at_their_port(path: str) -> None:
    assert (await asked((b"authorization", b"Bearer a.task"), path=path, port=TASKS))[0] == 200
    assert await asked(path=path, port=TASKS) == (401, [])


@pytest.mark.parametrize(
    "path", ["/", "/executions", "/api/v2/dags", "/auth/login/", "//execution/x", "/x/../execution/", "/Execution/x"]
)
async def test_and_nothing_else_even_with_the_proof(path: str) -> None:
    assert await asked((NAME, PROOF), path=path, port=TASKS) == (404, [])


async def test_the_applications_own_life_passes_and_web_sockets_do_not() -> None:
    passed, said = [], []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["type"])

    async def send(event: dict[str, Any]) -> None:
        said.append(event["type"])

    door = gatekeeper.Door(app, PROOF, None)
    await door({"type": "lifespan"}, None, send)
    await door({"type": "websocket", "headers": [(NAME, PROOF)]}, None, send)
    assert (passed, said) == (["lifespan"], ["websocket.close"])


def asked_wsgi(environ: dict[str, Any], wanted: bytes | None = PROOF) -> tuple[str, list[dict[str, Any]]]:
    inside: list[dict[str, Any]] = []
    said: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        inside.append(environ)
        start_response("200 OK", [])
        return []

    gatekeeper.closed(app, wanted)(environ, lambda status, headers: said.append(status))
    return said[0], inside


def test_airflow_2_has_the_same_door() -> None:
    status, inside = asked_wsgi({"HTTP_X_AERODROME_GATEWAY": PROOF.decode(), "PATH_INFO": "/health"})
    assert (status, inside) == ("200 OK", [{"PATH_INFO": "/health"}])


@pytest.mark.parametrize("shown", [None, *OTHERS])
def test_and_opens_it_to_nobody_else(shown: bytes | None) -> None:
    environ = {} if shown is None else {"HTTP_X_AERODROME_GATEWAY": shown.decode("latin-1")}
    assert asked_wsgi({**environ, "PATH_INFO": "/health"}) == ("401 Unauthorized", [])
    assert asked_wsgi({"HTTP_X_AERODROME_GATEWAY": PROOF.decode()}, None) == ("401 Unauthorized", [])

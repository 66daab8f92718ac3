"""`aerodrome sessions …`: what it sends, signed, and what it makes of the answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typer.testing import CliRunner

from aerodrome.cli.main import app
from aerodrome.cli.output import out
from aerodrome.errors import Permanent, Temporary
from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation, dump

SESSION = {
    "Id": "0a1b2c3d4e5f",
    "Environment": "demo",
    "Region": "us-east-1",
    "AirflowIdentity": "user/ann",
    "IamIdentity": "user/ann",
    "AccessKeyId": "AKIA1",
    "Roles": ["Admin", "Op"],
    "SourceIp": "127.0.0.1",
    "CreatedAt": 1767225600.0,
    "LastSeenAt": 1767229200.0,
    "ExpiresAt": 1767268800.0,
}


@dataclass
class Endpoint:
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    status: int = 200
    answer: dict[str, Any] = field(default_factory=lambda: {"Sessions": [SESSION], "Revoked": 1})

    async def __call__(self, request: Request) -> Response:
        assert "/us-east-1/airflow/aws4_request" in request.headers["authorization"]
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        self.asked.append((request.method, path, (await request.body()).decode()))
        return JSONResponse(self.answer, self.status)


@pytest.fixture
def endpoint(
    installation: Installation, serve_app: Callable[..., int], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> Endpoint:
    made = Endpoint()
    route = Route("/_aerodrome/{rest:path}", made.__call__, methods=["GET", "POST"])
    port = serve_app(Starlette(routes=[route]))
    Layout(tmp_path / "home").installation_file.write_text(dump(replace(installation, front_port=port)))
    return made


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["sessions", *arguments])


def test_a_person_sees_who_is_signed_in(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "width", 80)
    assert "0a1b2c3d4e5f" in run("list").output, "it is what `revoke` takes"
    endpoint.asked.clear()
    monkeypatch.setattr(out, "width", 200)
    text = run("list").output
    for word in ("0a1b2c3d4e5f", "demo (us-east-1)", "user/ann", "Admin, Op", "AKIA1", "2026-01-01 01:00:00Z"):
        assert word in text
    assert endpoint.asked == [("GET", "/_aerodrome/sessions", "")]


def test_a_program_gets_the_answer_itself(endpoint: Endpoint) -> None:
    assert json.loads(run("list", "demo", "--region", "eu-west-1", "--json").stdout)["Sessions"] == [SESSION]
    assert endpoint.asked == [("GET", "/_aerodrome/sessions?environment=demo&region=eu-west-1", "")]


def test_nobody_is_said_to_be_there(endpoint: Endpoint) -> None:
    endpoint.answer = {"Sessions": []}
    assert "Nobody is signed in." in run("list").output


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (("0a1b2c3d4e5f",), {"Id": "0a1b2c3d4e5f"}),
        (("--user", "ann"), {"User": "ann"}),
        (("--environment", "demo"), {"Environment": "demo"}),
        (("--environment", "demo", "--region", "eu-west-1"), {"Environment": "demo", "Region": "eu-west-1"}),
        (("--all",), {"All": True}),
    ],
)
def test_one_thing_is_revoked(endpoint: Endpoint, arguments: tuple[str, ...], sent: dict[str, Any]) -> None:
    result = run("revoke", *arguments)
    assert (result.exit_code, result.stdout) == (0, "1 session ended.\n")
    ((method, path, body),) = endpoint.asked
    assert (method, path, json.loads(body)) == ("POST", "/_aerodrome/sessions/revoke", sent)


@pytest.mark.parametrize("arguments", [(), ("id", "--all"), ("--user", "a", "--environment", "b"), ("--region", "x")])
def test_everything_is_never_meant_by_chance(endpoint: Endpoint, arguments: tuple[str, ...]) -> None:
    assert run("revoke", *arguments).exit_code == 2
    assert endpoint.asked == []


@pytest.mark.parametrize(
    ("status", "kind", "said"), [(404, Permanent, "no such session"), (403, Permanent, "no"), (503, Temporary, "503")]
)
def test_a_refusal_is_told(endpoint: Endpoint, status: int, kind: type[Exception], said: str) -> None:
    endpoint.status, endpoint.answer = status, {"message": "There is no such session."}
    result = run("revoke", "x")
    assert isinstance(result.exception, kind)
    assert said in str(result.exception)

"""Waiting for an environment, over HTTP with signed calls: the other side is a list of what it answers."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aerodrome.cli import watch as watching
from aerodrome.cli.connection import Connection, connect
from aerodrome.cli.events import Journal
from aerodrome.cli.watch import follow, watch
from aerodrome.domain.principal import AccessKey, Principal
from aerodrome.errors import ApiError, Permanent, Temporary
from aerodrome.identity import Verifier
from aerodrome.machineroom.installation import Installation

PAGE = 3
PRINCIPAL = Principal("arn:aws:iam::100000000001:user/admin", "100000000001", "aws", "AIDA")


class Keys:
    async def resolve(self, key_id: str, session_token: str | None) -> AccessKey | None:
        return AccessKey(key_id, "secret", principal=PRINCIPAL) if key_id == "AKIATEST" else None


@dataclass
class Service:
    """An endpoint that knows one environment; every GetEnvironment takes the next of its states, the last one stays."""

    states: list[str] = field(default_factory=lambda: ["AVAILABLE"])
    reason: str = ""
    events: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    away: int = 0  # answers with 503 so many times first

    def app(self) -> Starlette:
        verifier = Verifier(Keys(), lambda: datetime.now(UTC))

        async def checked(request: Request) -> str | None:
            scope = request.scope
            headers, body = list(scope["headers"]), await request.body()
            try:
                caller = await verifier.verify(request.method, scope["raw_path"], scope["query_string"], headers, body)
            except ApiError as error:
                return str(error)
            return None if caller.region == "us-east-1" else "wrong region"

        async def history(request: Request) -> Response:
            if problem := await checked(request):
                return JSONResponse({"message": problem}, 403)
            if self.away:
                self.away -= 1
                return JSONResponse({"message": "starting"}, 503)
            after = int(request.query_params["after"])
            rows = [
                {"Id": number, "At": 1000.0 + number, "Type": type_, "Message": text, "Actor": None, "Data": data}
                for number, (type_, text, data) in enumerate(self.events, 1)
                if number > after
            ]
            return JSONResponse({"Events": rows[:PAGE]})

        async def get(request: Request) -> Response:
            if problem := await checked(request):
                return JSONResponse({"message": problem}, 403)
            status = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            if status == "gone":
                headers = {"x-amzn-errortype": "ResourceNotFoundException"}
                return JSONResponse({"message": "no such environment"}, 404, headers)
            update = {"Error": {"ErrorCode": "INCORRECT_CONFIGURATION", "ErrorMessage": self.reason}}
            return JSONResponse({"Environment": {"Name": "demo", "Status": status, "LastUpdate": update}})

        own = Route("/_aerodrome/environments/{name}/events", history)
        return Starlette(routes=[own, Route("/environments/{name}", get)])


@pytest.fixture
def serve(
    installation: Installation, serve_app: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Service], Connection]:
    monkeypatch.setattr(watching, "_PAUSE", 0.01)

    def serve(service: Service) -> Connection:
        serve_app(service.app(), installation.front_port)
        return connect()

    return serve


def console() -> Console:
    return Console(file=io.StringIO(), width=120, color_system=None)


def text(printed: Console) -> str:
    assert isinstance(printed.file, io.StringIO)
    return printed.file.getvalue()


CREATED = [
    ("create.requested", "CreateEnvironment", {}),
    ("step.waiting", "Installing Airflow", {"step": "ensure_runtime"}),
    ("step.finished", "Airflow installed", {"step": "ensure_runtime", "seconds": 3.2}),
    ("step.finished", "DAGs synchronised", {"step": "sync_content", "seconds": 0.1}),
    ("status.changed", "AVAILABLE", {"from": "CREATING", "to": "AVAILABLE"}),
]


def test_events_come_in_pages_and_are_signed(serve: Callable[[Service], Connection]) -> None:
    with Journal(serve(Service(events=CREATED)), "demo") as journal:
        assert [event.id for event in journal.after(0)] == [1, 2, 3, 4, 5]
        assert [event.id for event in journal.after(4)] == [5]
        assert journal.before_current() == 0


def test_a_create_is_shown_to_its_end(serve: Callable[[Service], Connection]) -> None:
    shown = console()
    service = Service(states=["CREATING", "CREATING", "AVAILABLE"], events=CREATED, away=2)
    progress = watch(serve(service), "demo", shown)
    assert progress.status == "AVAILABLE"
    assert [line.seconds for line in progress.lines.values()] == [3.2, 0.1]
    assert text(shown).count("Airflow installed (3.2 s)") == 1
    assert text(shown).count("\n") == len(CREATED)


def test_only_what_is_under_way_is_shown(serve: Callable[[Service], Connection]) -> None:
    shown = console()
    service = Service(events=[*CREATED, ("delete.requested", "DeleteEnvironment", {}), *CREATED[:3]])
    watch(serve(service), "demo", shown)
    assert text(shown).count("\n") == 3


def test_a_failed_create_says_why_and_what_to_do(serve: Callable[[Service], Connection]) -> None:
    failed = [*CREATED[:2], ("error", "Installing Airflow failed.", {"detail": "line 1\nline 2"})]
    service = Service(states=["CREATING", "CREATE_FAILED"], reason="Installing Airflow failed (exit 1).", events=failed)
    with pytest.raises(Permanent) as caught:
        watch(serve(service), "demo", console())
    told = str(caught.value)
    assert "demo is CREATE_FAILED. Installing Airflow failed (exit 1).\nline 1\nline 2\n" in told
    assert "aerodrome env delete demo" in told


def test_a_deletion_ends_when_it_is_gone(serve: Callable[[Service], Connection]) -> None:
    progress = watch(serve(Service(states=["DELETING", "gone"])), "demo", console(), deletion=True)
    assert progress.status == "DELETED"


def test_deleted_while_it_was_being_created_is_a_failure(serve: Callable[[Service], Connection]) -> None:
    with pytest.raises(Permanent, match="deleted meanwhile"):
        watch(serve(Service(states=["CREATING", "gone"])), "demo", console())


def test_an_endpoint_that_stays_away_is_a_failure(
    serve: Callable[[Service], Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_AWAY", 0.1)
    service = Service(states=["CREATING"], events=CREATED)
    connection = serve(service)
    service.away = 10_000
    with pytest.raises(Temporary, match=r"events of demo can't be read now \(503\)"):
        watch(connection, "demo", console())


def test_a_refused_signature_is_told(serve: Callable[[Service], Connection]) -> None:
    connection = serve(Service())
    other = json.loads(connection.layout.installation_file.read_text()) | {"admin_secret_key": "another"}
    connection.layout.installation_file.write_text(json.dumps(other))
    with Journal(connect(), "demo") as journal, pytest.raises(Permanent, match=r"can't be read \(403\)"):
        journal.after(0)


def test_events_are_printed_with_their_times(serve: Callable[[Service], Connection]) -> None:
    shown = console()
    assert follow(serve(Service(events=CREATED)), "demo", shown, forever=False) == len(CREATED)
    assert "    2.0 s  step.finished    Airflow installed (3.2 s)" in text(shown)


def test_nothing_known_prints_nothing(serve: Callable[[Service], Connection]) -> None:
    shown = console()
    assert follow(serve(Service()), "demo", shown, forever=False) == 0
    assert text(shown) == ""

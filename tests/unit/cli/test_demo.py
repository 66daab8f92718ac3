"""The demo's input, its expected answer, and the arithmetic of its DAG."""

from __future__ import annotations

import ast
import csv
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aerodrome.cli import demo, watch
from aerodrome.cli.connection import connect
from aerodrome.cli.demo_data import AIRPORTS, DAG_FILES, dag_file, differences, expected_report, flights_csv
from aerodrome.cli.demo_run import RunView, trigger
from aerodrome.machineroom.installation import Installation

SMALL = "flight,airport,passengers,delay_minutes\nA1,ZRH,100,0\nA2,AMS,50,16\nA3,ZRH,200,15\n"


def test_the_input_is_the_same_every_time_and_has_tasks_enough() -> None:
    assert flights_csv() == flights_csv()
    rows = list(csv.DictReader(io.StringIO(flights_csv())))
    assert {row["airport"] for row in rows} == set(AIRPORTS)
    assert len(AIRPORTS) >= 8
    assert all(int(row["passengers"]) > 0 and int(row["delay_minutes"]) >= 0 for row in rows)


def test_the_expected_report_by_hand() -> None:
    assert expected_report(SMALL) == {
        "flights": 3,
        "passengers": 350,
        "airports": [
            {"airport": "AMS", "flights": 1, "passengers": 50, "mean_delay": 16.0, "on_time": 0.0},
            {"airport": "ZRH", "flights": 2, "passengers": 300, "mean_delay": 7.5, "on_time": 1.0},
        ],
    }


def test_a_wrong_report_is_told_from_a_right_one() -> None:
    expected = expected_report(SMALL)
    assert differences({**expected, "run_id": "r"}, expected) == []
    assert differences({**expected, "passengers": 351}, expected) == ["passengers is 351, not 350"]
    assert len(differences({}, expected)) == 3


def test_the_dags_arithmetic_comes_to_the_expected_report() -> None:
    """`transform` is run as it stands in the DAG file, without Airflow."""
    transform = task_function("flights.py", "transform")
    text = flights_csv()
    airports: dict[str, list[dict[str, int]]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        flight = {"passengers": int(row["passengers"]), "delay": int(row["delay_minutes"])}
        airports.setdefault(row["airport"], []).append(flight)
    rows = [transform({"airport": airport, "flights": airports[airport]}) for airport in sorted(airports)]
    assert rows == expected_report(text)["airports"]


def task_function(file: str, name: str) -> Any:
    module = ast.parse(dag_file(file))
    (function,) = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef) and node.name == name]
    function.decorator_list = []
    namespace: dict[str, Any] = {"Any": Any, "ON_TIME": 15}
    exec(compile(ast.Module([function], []), file, "exec"), namespace)  # noqa: S102 - our own file
    return namespace[name]


@pytest.mark.parametrize("name", DAG_FILES)
def test_dag_files_are_part_of_the_package(name: str) -> None:
    compile(dag_file(name), name, "exec")


def test_paths_of_the_run_fit_into_invoke_rest_api() -> None:
    class Nobody:
        major = 3

        def post(self, path: str, body: dict[str, Any]) -> None:
            assert body["logical_date"] is None

    run_id = trigger(Nobody(), "flights")  # type: ignore[arg-type]
    assert len(f"/dags/flights/dagRuns/{run_id}/taskInstances") <= 64


def test_states_of_mapped_tasks_are_counted() -> None:
    view = RunView("r")
    view.apply([{"task_id": "transform", "state": "success"}] * 3 + [{"task_id": "transform", "state": None}])
    view.apply([{"task_id": "extract", "state": "success"}, *[{"task_id": "transform", "state": "success"}] * 2])
    assert view.tasks == {"extract": Counter(success=1), "transform": Counter(success=2)}
    assert view.finished("transform") == 2
    assert view.line() == "run queued; extract: 1 success; transform: 2 success"


ROLE = (
    "<CreateRoleResponse><CreateRoleResult><Role><Arn>arn:aws:iam::100000000001:role/r</Arn></Role>"
    "</CreateRoleResult></CreateRoleResponse>"
)


@dataclass
class Endpoint:
    """One environment; the status changes when somebody has looked at the one before."""

    states: list[str]
    asked: list[str] = field(default_factory=list)

    def app(self) -> Starlette:
        async def environment(request: Request) -> Response:
            name = request.path_params["name"]
            if request.method != "GET":
                self.asked.append(f"{request.method} {name}")
                self.states = ["DELETING", "gone"] if request.method == "DELETE" else ["CREATING", "AVAILABLE"]
                return JSONResponse({"Arn": "arn"} if request.method == "PUT" else {})
            status = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            if status == "gone":
                return JSONResponse({"message": "none"}, 404, {"x-amzn-errortype": "ResourceNotFoundException"})
            return JSONResponse({"Environment": {"Name": name, "Status": status, "AirflowVersion": "3.3.1"}})

        async def events(_: Request) -> Response:
            return JSONResponse({"Events": []})

        async def iam(_: Request) -> Response:
            return Response(ROLE, media_type="text/xml")

        return Starlette(
            routes=[
                Route("/environments/{name}", environment, methods=["GET", "PUT", "DELETE"]),
                Route("/_aerodrome/environments/{name}/events", events),
                Route("/", iam, methods=["POST"]),
            ]
        )


@pytest.mark.parametrize(
    ("states", "asked", "told"),
    [
        (["CREATE_FAILED"], ["DELETE demo", "PUT demo"], "it is deleted and created again"),
        (["DELETING", "gone"], ["PUT demo"], ""),
        (["gone"], ["PUT demo"], ""),
        (["CREATING", "AVAILABLE"], [], ""),
        (["AVAILABLE"], [], "Environment demo is there"),
    ],
)
def test_the_demo_goes_on_from_whatever_an_earlier_one_left(
    states: list[str],
    asked: list[str],
    told: str,
    installation: Installation,
    serve_app: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watch, "_PAUSE", 0.01)
    endpoint = Endpoint(states)
    serve_app(endpoint.app(), installation.front_port)
    major, _ = demo._environment(connect(), "demo", "bucket", None)
    assert (major, endpoint.asked) == (3, asked)
    assert told in capsys.readouterr().out

"""InvokeRestApi through boto3's own client: what reaches Airflow, and what comes back (mwaa-spec 1.7)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from aerodrome.api import rest
from aerodrome.api.throttle import Throttle
from aerodrome.domain import versions
from aerodrome.domain.environment import Status
from aerodrome.errors import ApiError
from aerodrome.settings import Settings
from aerodrome.store.database import Pool
from support.asgi import serving
from support.fake_airflow import FakeAirflow
from support.mwaa import House, open_house

PREFIX = {"3.3.1": "/api/v2", "2.11.2": "/api/v1"}


@pytest.fixture(params=sorted(versions.VERSIONS))
async def airflow(house: House, request: pytest.FixtureRequest) -> AsyncIterator[FakeAirflow]:
    """The environment `demo` with that web server."""
    fake = FakeAirflow(versions.get(request.param))
    async with serving(fake) as url:
        house.upstreams.addresses = [url.removeprefix("http://")]
        await house.create(AirflowVersion=request.param)
        await house.become("demo", Status.AVAILABLE)
        yield fake


async def invoke(house: House, path: str, method: str = "GET", **members: Any) -> Any:
    return await house.call("invoke_rest_api", Name="demo", Path=path, Method=method, **members)


async def refused(house: House, path: str, method: str = "GET", **members: Any) -> Any:
    return await house.refused("invoke_rest_api", Name="demo", Path=path, Method=method, **members)


PATHS = {
    "/dags": "/dags",
    "dags/a": "/dags/a",
    "/dags/a/dagRuns/manual__2026-01-01T00:00:00+00:00": "/dags/a/dagRuns/manual__2026-01-01T00:00:00+00:00",
    "/dags/a%2Fb": "/dags/a%2Fb",
    "/dags/a b": "/dags/a%20b",
    "/dags/Größe": "/dags/Gr%C3%B6%C3%9Fe",
    "//elsewhere/x": "/elsewhere/x",
    "/dags/" + "r" * 250: "/dags/" + "r" * 250,
}


async def test_the_path_is_below_airflows_api(house: House, airflow: FakeAirflow) -> None:
    for path in PATHS:
        await invoke(house, path)
    assert [asked.path for asked in airflow.asked] == [
        PREFIX[airflow.version.version] + path for path in PATHS.values()
    ]


async def test_the_query_may_be_in_the_path_and_in_the_parameters(house: House, airflow: FakeAirflow) -> None:
    parameters = {
        "text": "a b&c=ü",
        "number": 5,
        "fraction": 0.5,
        "yes": True,
        "many": ["x", 1, None],
        "nothing": None,
        "none": [],
        "object": {"a": [1]},
        "empty": "",
    }
    await invoke(house, "/dags?limit=10&order_by=-dag_id&tags=a%26b&flag=", QueryParameters=parameters)
    assert airflow.asked[0].path.endswith("/dags")
    assert airflow.asked[0].query.split("&") == [
        "limit=10",
        "order_by=-dag_id",
        "tags=a%26b",
        "flag=",
        "text=a+b%26c%3D%C3%BC",
        "number=5",
        "fraction=0.5",
        "yes=true",
        "many=x",
        "many=1",
        "object=%7B%22a%22%3A+%5B1%5D%7D",
        "empty=",
    ]


async def test_parameters_without_names_are_refused(house: House, airflow: FakeAirflow) -> None:
    for parameters in (["limit"], "limit=5", 5, False):
        refusal = await house.refused_unchecked(
            "invoke_rest_api", Name="demo", Path="/dags", Method="GET", QueryParameters=parameters
        )
        assert refusal["Error"]["Code"] == "ValidationException"
        assert "QueryParameters: it must be a JSON object" in refusal["Error"]["Message"]
    assert airflow.asked == []


async def test_parameters_too_long_for_a_url_are_refused(house: House, airflow: FakeAirflow) -> None:
    refusal = await refused(house, "/dags", QueryParameters={"dag_ids": ["x" * 1000] * 100})
    assert refusal["Error"]["Code"] == "ValidationException"
    assert "QueryParameters: they make no URL" in refusal["Error"]["Message"]
    assert airflow.asked == []


async def test_a_body_arrives_as_json(house: House, airflow: FakeAirflow) -> None:
    body = {"conf": {"a": [1, 2.5, None, "ü"]}, "logical_date": None}
    for method in ("POST", "PUT", "PATCH"):
        await invoke(house, "/dags/a/dagRuns", method, Body=body)
        asked = airflow.asked[-1]
        assert (asked.method, json.loads(asked.body), asked.content_type) == (method, body, "application/json")


async def test_json_is_what_we_ask_for(house: House, airflow: FakeAirflow) -> None:
    """Airflow 2 answers with text where it has a choice: logs, the configuration."""
    await invoke(house, "/config")
    assert airflow.asked[-1].accept.startswith("application/json")


async def test_an_empty_body_where_none_belongs_is_none(house: House, airflow: FakeAirflow) -> None:
    """MwaaHook sends both members with every call."""
    for method in ("GET", "DELETE"):
        await invoke(house, "/dags", method, Body={}, QueryParameters={})
        asked = airflow.asked[-1]
        assert (asked.method, asked.body, asked.content_type, asked.query) == (method, b"", "", "")


SUCCESSES: list[tuple[int, Any, Any]] = [
    (200, {"dags": [], "total_entries": 0}, {"dags": [], "total_entries": 0}),
    (201, {"a": "ü"}, {"a": "ü"}),
    (204, b"", {}),
    (
        200,
        b'{"value": NaN, "more": -Infinity, "much": 1e999}',
        {"value": "NaN", "more": "-Infinity", "much": "1e999"},
    ),
    (200, b'{"half": "\\ud83d"}', {"half": "\ud83d"}),
    (200, ["a"], {"value": ["a"]}),
    (200, b"plain text", {"detail": "plain text", "status": 200, "title": "Not a JSON answer"}),
]
REFUSALS: list[tuple[int, Any, str]] = [
    (404, {"detail": "no DAG x", "status": 404, "title": "DAG not found"}, "Airflow answered 404: no DAG x"),
    (401, {}, "Airflow answered 401: Unauthorized"),
    (403, {"title": "Forbidden"}, "Airflow answered 403: Forbidden"),
    (409, {"detail": {"reason": "exists"}}, 'Airflow answered 409: {"reason": "exists"}'),
    (422, {"detail": [{"loc": ["body"]}]}, 'Airflow answered 422: [{"loc": ["body"]}]'),
    (400, b"<html>", "Airflow answered 400: <html>"),
    (499, b"[" * 100_000, "Airflow answered 499: [[["),
]


async def test_a_success_is_airflows_status_and_answer(house: House, airflow: FakeAirflow) -> None:
    for status, body, document in SUCCESSES:
        airflow.answer(status, body)
        answer = await invoke(house, "/dags")
        assert (answer["RestApiStatusCode"], answer["RestApiResponse"]) == (status, document)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200


async def test_airflows_refusal_is_a_client_exception(house: House, airflow: FakeAirflow) -> None:
    for status, body, words in REFUSALS:
        await assert_exception(house, airflow, "RestApiClientException", status, body, words)


async def test_airflows_failure_is_a_server_exception(house: House, airflow: FakeAirflow) -> None:
    for status, body in ((500, {"detail": "broken"}), (503, b""), (502, b"<html>")):
        await assert_exception(house, airflow, "RestApiServerException", status, body, f"Airflow answered {status}: ")


async def assert_exception(house: House, airflow: FakeAirflow, code: str, status: int, body: Any, words: str) -> None:
    airflow.answer(status, body)
    with pytest.raises(getattr(house.client().exceptions, code)) as caught:
        await invoke(house, "/dags/x")
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert response["RestApiStatusCode"] == status
    assert isinstance(response["RestApiResponse"], dict)
    if isinstance(body, dict):
        assert response["RestApiResponse"] == body
    assert words in response["Error"]["Message"]


async def test_a_redirection_is_told_and_not_followed(house: House, airflow: FakeAirflow) -> None:
    airflow.answer(307, b"", location="/api/v2/dags")
    refusal = await refused(house, "/dags/")
    assert (refusal["Error"]["Code"], refusal["RestApiStatusCode"]) == ("RestApiClientException", 307)
    assert "ask for /api/v2/dags instead" in refusal["Error"]["Message"]
    assert len(airflow.asked) == 1


async def test_a_web_server_that_forgot_its_sessions_is_signed_in_to_again(house: House, airflow: FakeAirflow) -> None:
    await invoke(house, "/dags")
    await invoke(house, "/dags")
    assert airflow.sign_ins == 1
    airflow.token = "t1"
    await invoke(house, "/dags")
    assert (airflow.sign_ins, len(airflow.asked)) == (2, 3)


async def test_an_answer_too_large_is_a_server_exception(
    house: House, airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "_BODY_LIMIT", 1000)
    airflow.answer(200, {"text": "x" * 1000})
    refusal = await refused(house, "/dags")
    assert (refusal["Error"]["Code"], refusal["RestApiStatusCode"]) == ("RestApiServerException", 413)


async def test_a_web_server_that_says_nothing_is_a_server_exception(
    house: House, airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "_TIMEOUT", 0.5)
    airflow.silent = True
    refusal = await refused(house, "/dags")
    assert (refusal["Error"]["Code"], refusal["RestApiStatusCode"]) == ("RestApiServerException", 504)


async def test_mwaas_limit_of_the_path_can_be_had(pool: Pool) -> None:
    async with open_house(pool, longest_path=64) as house:
        refusal = await refused(house, "/" + "a" * 64)
        assert refusal["Error"]["Code"] == "ValidationException"
        assert (
            "at 'path' failed to satisfy constraint: Member must have length less than or equal to 64"
            in (refusal["Error"]["Message"])
        )
        known = await refused(house, "/" + "a" * 63)
        assert known["Error"]["Code"] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("given", "longest"),
    [({}, 2048), ({"strict": True}, 64), ({"rest_api_path_limit": 100}, 100),
     ({"strict": True, "rest_api_path_limit": 100}, 100)],
)  # fmt: skip
def test_what_the_settings_say_of_the_path(given: dict[str, Any], longest: int) -> None:
    assert Settings(**given).longest_rest_api_path == longest


async def test_a_rate_can_be_set(pool: Pool) -> None:
    async with open_house(pool, rest_throttle=Throttle(2, clock=lambda: 0.0)) as house:
        await house.create()
        await house.become("demo", Status.AVAILABLE)
        for _ in range(2):
            assert (await refused(house, "/dags"))["Error"]["Code"] == "RestApiServerException"  # no web server runs
        with pytest.raises(ClientError) as caught:
            await invoke(house, "/dags")
        assert caught.value.response["Error"]["Code"] == "ThrottlingException"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429


class TestThrottle:
    def test_without_a_rate_there_is_no_limit(self) -> None:
        throttle = Throttle()
        for _ in range(10_000):
            throttle.take("a")

    @pytest.mark.parametrize(("rate", "at_once"), [(10, 10), (2.5, 2), (0.5, 1)])
    def test_a_seconds_worth_at_once_then_one_after_the_other(self, rate: float, at_once: int) -> None:
        now = [0.0]
        throttle = Throttle(rate, clock=lambda: now[0])
        assert taken(throttle) == at_once
        now[0] += 1 / rate
        assert taken(throttle) == 1
        now[0] += 1000
        assert taken(throttle) == at_once

    def test_each_environment_has_its_own(self) -> None:
        throttle = Throttle(1, clock=lambda: 0.0)
        throttle.take("a")
        throttle.take("b")
        with pytest.raises(ApiError, match="AERODROME_REST_API_RATE"):
            throttle.take("a")

    def test_those_at_rest_are_forgotten_and_nobody_gains_by_it(self) -> None:
        now = [0.0]
        throttle = Throttle(1, clock=lambda: now[0])
        for number in range(1500):
            throttle.take(f"old-{number}")
        now[0] += 10
        throttle.take("a")
        assert len(throttle._buckets) == 1
        with pytest.raises(ApiError):
            throttle.take("a")


def taken(throttle: Throttle) -> int:
    """How many calls pass before one is refused."""
    for number in range(100):
        try:
            throttle.take("a")
        except ApiError:
            return number
    raise AssertionError("nothing was refused")

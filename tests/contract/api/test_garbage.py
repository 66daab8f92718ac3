"""Requests that nobody would write: whatever the bytes, whatever the parameters, the answer is ours and no 500."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.model import StructureShape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aerodrome.domain import versions
from aerodrome.domain.environment import Status
from aerodrome.store.database import open_pool
from support.asgi import ask, serving
from support.errors import MODEL, check
from support.fake_airflow import FakeAirflow
from support.mwaa import ACCOUNT, GIVEN, House, open_house
from support.shapes import generated
from support.signing import signed

ARN = f"arn:aws:airflow:eu-west-1:{ACCOUNT}:environment/demo"
MANY = settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
SOME = settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
METHODS = st.sampled_from(["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD"])
ROOTS = st.sampled_from(
    [b"/", b"/environments", b"/environments/", b"/environments/demo", b"/tags/", b"/tags/" + ARN.encode(),
     b"/restapi/demo", b"/clitoken/", b"/webtoken/demo", b"/metrics/environments/demo"]
)  # fmt: skip
SHARDS = st.sampled_from(
    [b"%", b"%00", b"%ff", b"%2F", b"=", b"&", b"+", b"..", b"/", b"\0", b"\xff", b"MaxResults=", b"NextToken=",
     b"tagKeys=", b"{", b"}", b"[", b"]", b":", b",", b'"', b"null", b"NaN", b"1e999", b"-0", b"\\ud800",
     b'{"Tags":', b'{"Path":"/dags","Method":"GET","QueryParameters":', b'{"MetricData":']
)  # fmt: skip
BYTES = st.lists(SHARDS | st.binary(max_size=4), max_size=8).map(b"".join)


@asynccontextmanager
async def living(database_url: str) -> AsyncIterator[House]:
    """The API with one environment, whose web server answers."""
    async with open_pool(database_url, size=4) as pool, open_house(pool) as house:
        async with pool.connection() as connection:
            await connection.execute(
                "TRUNCATE environments, events, tokens, sessions, session_cookies RESTART IDENTITY"
            )
        async with serving(FakeAirflow(versions.get(versions.DEFAULT_VERSION))) as url:
            house.upstreams.addresses = [url.removeprefix("http://")]
            await house.create()
            await house.become("demo", Status.AVAILABLE)
            yield house


@pytest.fixture(scope="module")
def running(database_url: str) -> Iterator[tuple[asyncio.Runner, House]]:
    """In an event loop that a test which is no coroutine can drive: hypothesis calls functions."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        house = runner.run(stack.enter_async_context(living(database_url)))
        yield runner, house
        runner.run(stack.aclose())


async def answered(house: House, operation: str, params: dict[str, Any]) -> Any:
    """The answer to the call, also when it is a refusal."""
    try:
        return await house.call(operation, **params)
    except ClientError as error:
        return error.response


@pytest.mark.usefixtures("nothing_unforeseen")
def test_no_bytes_make_a_500(running: tuple[asyncio.Runner, House]) -> None:
    runner, house = running

    @MANY
    @given(METHODS, ROOTS, BYTES, BYTES, BYTES)
    def attempt(method: str, root: bytes, more: bytes, query: bytes, body: bytes) -> None:
        path = root + more
        answer = runner.run(ask(house.door, method, path, query, signed(method, path, query, body), body))
        assert answer.headers["x-amzn-requestid"]
        if answer.status != 200:
            check(answer)

    attempt()


@pytest.mark.parametrize("operation", MODEL.operation_names)
@pytest.mark.usefixtures("nothing_unforeseen")
def test_no_legal_parameters_make_a_500(running: tuple[asyncio.Runner, House], operation: str) -> None:
    """Of all twelve operations, about an environment that is there; a create has a place that would do."""
    runner, house = running
    shape = MODEL.operation_model(operation).input_shape
    assert isinstance(shape, StructureShape)
    named: dict[str, Any] = {"Name": "demo", "EnvironmentName": "demo", "ResourceArn": ARN}
    if operation in ("CreateEnvironment", "DeleteEnvironment"):
        named["Name"] = "another"
    if operation == "CreateEnvironment":
        named |= GIVEN
    fixed = {name: value for name, value in named.items() if name in shape.members}

    @SOME
    @given(generated(shape))
    def attempt(params: Any) -> None:
        response = runner.run(answered(house, xform_name(operation), {**params, **fixed}))
        assert response["ResponseMetadata"]["HTTPStatusCode"] < 500
        assert "Error" not in response or response["Error"]["Message"]

    attempt()

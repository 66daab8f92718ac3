"""Whose a request is, and how the rest is passed on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from aerodrome.api.app import FrontDoor
from aerodrome.api.call import Call
from aerodrome.api.middleware import BODY_LIMIT
from aerodrome.content.writes import Write
from aerodrome.relay import Relay
from aerodrome.wire import Reply, Wire
from support.asgi import serving

SIGNED = "AWS4-HMAC-SHA256 Credential=K/20261122/eu-west-1/{}/aws4_request, SignedHeaders=host, Signature=00"


async def cloud(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what reached it."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    names = b",".join(name for name, _ in scope["headers"])
    line = b"%s %s?%s %d %s" % (
        scope["method"].encode(),
        scope["raw_path"],
        scope["query_string"],
        size,
        dict(scope["headers"]).get(b"host", b""),
    )
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-names", names), (b"etag", b'"a"')]})
    await send({"type": "http.response.body", "body": line})


async def mwaa(call: Call) -> Reply:
    return Reply(200, {"x-ours": "yes"}, call.raw_path)


@pytest.fixture
async def door() -> AsyncIterator[httpx.AsyncClient]:
    healthy = [True]
    async with serving(cloud) as behind:
        relay = Relay("127.0.0.1", int(behind.rpartition(":")[2]))
        front = FrontDoor(
            own=cloud, mwaa=mwaa, history=mwaa, wire=Wire("mwaa"), cloud=relay, healthy=lambda: healthy[0]
        )
        async with serving(front) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
            yield client
        await relay.close()


async def test_signed_for_airflow_is_ours(door: httpx.AsyncClient) -> None:
    answer = await door.get("/anything", headers={"Authorization": SIGNED.format("airflow")})
    assert answer.headers["x-ours"] == "yes"
    assert answer.headers["x-amzn-requestid"]


async def test_a_prefixed_host_is_ours(door: httpx.AsyncClient) -> None:
    for host in ("api.localhost", "env.airflow.eu-west-1.amazonaws.com", "ops.x"):
        assert "x-ours" in (await door.get("/x", headers={"Host": host})).headers
    assert "x-ours" in (await door.get("/environments/demo")).headers


@pytest.mark.parametrize(
    "target", ["/bucket/a%2Fb%20c/%C3%A4", "/bucket//double", "/b?list-type=2&prefix=a%2Fb", "/b?x"]
)
async def test_the_rest_is_passed_on_byte_for_byte(door: httpx.AsyncClient, target: str) -> None:
    url = str(door.base_url).rstrip("/")
    host = url.removeprefix("http://")
    request = door.build_request("PUT", "/", headers={"Authorization": SIGNED.format("s3")}, content=b"x" * 100_000)
    path, _, query = target.partition("?")
    request.url = httpx.URL(url).copy_with(raw_path=target.encode())
    answer = await door.send(request)
    assert answer.text == f"PUT {path}?{query} 100000 {host}"
    assert answer.headers["etag"] == '"a"'


async def test_chunked_uploads_pass(door: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"y" * 10_000

    answer = await door.put("/bucket/key", headers={"Authorization": SIGNED.format("s3")}, content=body())
    assert " 100000 " in answer.text


async def test_hop_by_hop_headers_stay_behind(door: httpx.AsyncClient) -> None:
    headers = {"Authorization": SIGNED.format("s3"), "Connection": "X-Mine", "X-Mine": "1", "Expect": "100-continue"}
    answer = await door.put("/bucket/key", headers=headers, content=b"z")
    names = answer.headers["x-names"].split(",")
    assert "x-mine" not in names
    assert "expect" not in names


async def test_health_is_open_and_the_bucket_of_that_name_is_not_ours(door: httpx.AsyncClient) -> None:
    assert (await door.get("/healthz")).status_code == 200
    signed = await door.get("/healthz", headers={"Authorization": SIGNED.format("s3")})
    assert signed.text.startswith("GET /healthz?")


async def test_too_large_a_body_is_413(door: httpx.AsyncClient) -> None:
    headers = {"Authorization": SIGNED.format("airflow")}
    answer = await door.put("/environments/demo", headers=headers, content=b" " * (BODY_LIMIT + 1))
    assert answer.status_code == 413
    assert answer.headers["x-amzn-errortype"] == "RequestEntityTooLargeException"


async def test_a_cloud_that_is_away_is_503() -> None:
    relay = Relay("127.0.0.1", 1)
    front = FrontDoor(own=cloud, mwaa=mwaa, history=mwaa, wire=Wire("mwaa"), cloud=relay, healthy=lambda: False)
    async with serving(front) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        answer = await client.get("/bucket")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
        assert (await client.get("/healthz")).status_code == 503
    await relay.close()


async def test_a_cloud_that_breaks_off_is_503_and_never_a_traceback() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        relay = Relay("127.0.0.1", server.sockets[0].getsockname()[1])
        front = FrontDoor(own=cloud, mwaa=mwaa, history=mwaa, wire=Wire("mwaa"), cloud=relay, healthy=lambda: True)
        async with serving(front) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
            assert (await client.get("/bucket")).status_code == 503
        await relay.close()


@pytest.mark.parametrize("length", [b"20", b"70000"])
async def test_a_cloud_that_dies_amid_an_answer_gave_none(length: bytes) -> None:
    """A short answer is passed on whole or not at all: botocore would take its head for a success."""

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 200 \r\ncontent-length: " + length + b"\r\n\r\nbegun")
        writer.close()

    async with await asyncio.start_server(die, "127.0.0.1", 0) as server:
        relay = Relay("127.0.0.1", server.sockets[0].getsockname()[1])
        front = FrontDoor(own=cloud, mwaa=mwaa, history=mwaa, wire=Wire("mwaa"), cloud=relay, healthy=lambda: True)
        async with serving(front) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
            if length == b"20":
                assert (await client.get("/bucket")).status_code == 503
            else:
                with pytest.raises(httpx.RemoteProtocolError):
                    await client.get("/bucket")
        await relay.close()


async def test_the_history_has_the_limits_of_the_api(door: httpx.AsyncClient) -> None:
    answer = await door.request("GET", "/_aerodrome/environments/x/events", content=b" " * (BODY_LIMIT + 1))
    assert answer.status_code == 413


class Told:
    """Who is told of writes."""

    def __init__(self) -> None:
        self.began_: list[Write] = []
        self.ended_: list[bool] = []

    def began(self, write: Write) -> None:
        self.began_.append(write)

    def ended(self, write: Write, *, durable: bool) -> None:
        assert write is self.began_[-1]
        self.ended_.append(durable)


@pytest.mark.parametrize(
    ("method", "target", "status", "told"),
    [
        ("PUT", "/bucket/dags/a.py", 200, True),
        ("DELETE", "/bucket/dags/a.py", 204, True),
        ("POST", "/bucket?delete", 200, True),
        ("POST", "/bucket/dags/a.py?uploadId=u", 200, True),
        ("PUT", "/bucket/dags/a.py?uploadId=u&partNumber=1", 200, True),
        ("PUT", "/bucket/dags/a.py", 403, True),
        ("PUT", "/bucket/dags/a.py", 500, True),
        ("GET", "/bucket/dags/a.py", 200, False),
        ("DELETE", "/bucket/dags/a.py?uploadId=u", 204, False),
    ],
)
async def test_a_write_is_told_of_when_the_cloud_has_said_that_it_is_done(
    method: str, target: str, status: int, told: bool
) -> None:
    reached, durable, writes = asyncio.Event(), asyncio.Event(), Told()

    async def slow_cloud(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        reached.set()
        await durable.wait()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with serving(slow_cloud) as behind:
        relay = Relay("127.0.0.1", int(behind.rpartition(":")[2]))
        async with serving(door_to(relay, writes)) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
            headers = {"Authorization": SIGNED.format("s3")}
            asked = asyncio.create_task(client.request(method, target, headers=headers, content=b"x"))
            await reached.wait()
            assert len(writes.began_) == told
            assert writes.ended_ == [], "not before it is on disk"
            durable.set()
            assert (await asked).status_code == status
        await relay.close()
    assert writes.ended_[:1] == ([status < 400] if told else [])


def door_to(relay: Relay, writes: Told) -> FrontDoor:
    return FrontDoor(
        own=cloud, mwaa=mwaa, history=mwaa, wire=Wire("mwaa"), cloud=relay, healthy=lambda: True, writes=writes
    )


async def test_a_write_without_an_answer_has_ended_and_is_no_change() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    writes = Told()
    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        relay = Relay("127.0.0.1", server.sockets[0].getsockname()[1])
        async with serving(door_to(relay, writes)) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
            assert (await client.put("/bucket/key", content=b"x")).status_code == 503
        await relay.close()
    assert set(writes.ended_) == {False}


async def test_a_write_whose_client_leaves_has_ended() -> None:
    writes = Told()
    async with serving(cloud) as behind:
        relay = Relay("127.0.0.1", int(behind.rpartition(":")[2]))
        async with serving(door_to(relay, writes)) as url:
            _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(b"PUT /bucket/dags/a.py HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nbegun")
            async with asyncio.timeout(20):
                while not writes.began_:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                writer.close()
                while not writes.ended_:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        await relay.close()
    assert set(writes.ended_) == {False}

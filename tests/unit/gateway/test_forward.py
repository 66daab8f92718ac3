"""What reaches a web server, what comes back, and what happens when either side misbehaves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest


@pytest.fixture
def good(setup: Any) -> str:
    return str(setup.world.sign_in("good"))


async def seen(setup: Any, credential: str, target: str = "/x", **more: Any) -> dict[str, Any]:
    answer = await setup.get(target, credential, **more)
    assert answer.status == 200
    return dict(answer.json())


def named(headers: list[list[str]], name: str) -> list[str]:
    return [value for key, value in headers if key == name]


async def test_path_query_and_body_pass_untouched(setup: Any, good: str) -> None:
    target = "/a%2Fb//c/./d/../e%20f;p=1/?q=%2f&q=a+b&&x=[1]|é".replace("|é", "%C3%A9")
    body = bytes(range(256))
    record = await seen(setup, good, target, method="PUT", body=body)
    assert record["path"] + "?" + record["query"] == target
    assert record["method"] == "PUT"
    assert record["body"].encode("latin-1") == body


async def test_an_empty_query_mark_and_odd_methods_pass(setup: Any, good: str) -> None:
    assert (await seen(setup, good, "/x", method="PATCH", body=b""))["method"] == "PATCH"
    assert (await seen(setup, good, "/x?a"))["query"] == "a"
    assert (await setup.get("/x", good, method="HEAD")).body == b""


FORGED = [
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Prefix",
    "x-forwarded-user",
    "X_Forwarded_For",
    "Forwarded",
    "X-Real-IP",
    "X-Script-Name",
    "X-Aerodrome-Identity",
    "X_Aerodrome_Identity",
    "x-AERODROME-anything",
    "Remote-User",
    "REMOTE_USER",
    "X-Remote-User",
    "X-Proxy-User",
    "Proxy",
    "Keep-Alive",
    "TE",
    "Proxy-Authorization",
]


async def test_headers_that_airflow_trusts_cant_be_forged(setup: Any, good: str) -> None:
    record = await seen(setup, good, headers=[*((name, "forged") for name in FORGED), ("X-Kept", "kept")])
    assert "forged" not in str(record)
    assert named(record["headers"], "x-kept") == ["kept"]
    assert named(record["headers"], "x-forwarded-for") == ["127.0.0.1"]
    assert named(record["headers"], "x-forwarded-proto") == ["https"]
    assert named(record["headers"], "x-forwarded-host") == [setup.host]
    assert named(record["headers"], "x-forwarded-port") == ["8443"]
    assert named(record["headers"], "host") == [setup.host]


async def test_connection_options_are_dropped_but_cant_drop_ours(setup: Any, good: str) -> None:
    options = ("Connection", "x-private, X-Forwarded-For, cookie, host")
    record = await seen(setup, good, headers=[options, ("X-Private", "1")])
    assert named(record["headers"], "x-private") == []
    assert named(record["headers"], "x-forwarded-for") == ["127.0.0.1"]
    assert named(record["headers"], "cookie") == ["_token=good"]


async def test_answers_keep_their_headers_but_hop_by_hop_ones(setup: Any, good: str) -> None:
    answer = await setup.get("/x", good)
    assert answer.all("x-odd") == ["1", "2"]
    assert answer.header("x-hop") is None
    assert answer.header("server") is None


async def test_expect_is_answered_by_the_gateway(setup: Any, good: str) -> None:
    reader, writer = await setup.client.connect(setup.host)
    head = f"POST /x HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token={good}\r\nExpect: 100-continue\r\n"
    async with asyncio.timeout(5):
        writer.write(f"{head}Content-Length: 3\r\n\r\n".encode())
        assert (await setup.client.head(reader)).status == 100
        writer.write(b"abc")
        answer = await setup.client.read(reader)
    await setup.client.close(writer)
    assert answer.json()["body"] == "abc"
    assert named(answer.json()["headers"], "expect") == []


async def test_a_response_streams_piece_by_piece(setup: Any, good: str) -> None:
    reader, writer = await setup.client.connect(setup.host)
    async with asyncio.timeout(5):
        writer.write(f"GET /stream HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token={good}\r\n\r\n".encode())
        assert (await setup.client.head(reader)).header("content-type") == "application/x-ndjson"
        assert await setup.client.chunk(reader) == b'{"n":1}\n'
        assert not setup.airflow.go.is_set()  # the web server has not made the second piece yet
        setup.airflow.go.set()
        assert await setup.client.chunk(reader) == b'{"n":2}\n'
    await setup.client.close(writer)


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_upload_streams_piece_by_piece(setup: Any, good: str, chunked: bool) -> None:
    reader, writer = await setup.client.connect(setup.host)
    framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 200"
    piece = (b"64\r\n" + b"x" * 100 + b"\r\n") if chunked else b"x" * 100
    async with asyncio.timeout(5):
        writer.write(
            f"POST /upload HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token={good}\r\n{framing}\r\n\r\n".encode()
        )
        writer.write(piece)
        got = b""
        while len(got) < 100:  # arrives although the second piece has not been sent
            got += await setup.airflow.chunks.get()
        writer.write(piece + (b"0\r\n\r\n" if chunked else b""))
        answer = await setup.client.read(reader)
    await setup.client.close(writer)
    assert (answer.status, answer.body) == (200, b"200")


async def test_a_large_upload_and_a_large_answer(setup: Any, good: str) -> None:
    answer = await setup.get("/upload", good, method="POST", body=b"y" * 8_000_000)
    assert answer.body == b"8000000"
    assert len((await setup.get("/big", good)).body) == 400 * 65536


async def test_a_client_that_leaves_ends_the_request_upstream(setup: Any, good: str) -> None:
    _, writer = await setup.client.connect(setup.host)
    writer.write(f"GET /hang HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token={good}\r\n\r\n".encode())
    async with asyncio.timeout(5):
        await setup.airflow.entered.wait()
        await setup.client.close(writer)
        await setup.airflow.left.wait()


async def test_a_client_that_leaves_amid_its_upload_ends_the_request_upstream(setup: Any, good: str) -> None:
    _, writer = await setup.client.connect(setup.host)
    head = f"POST /hang HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token={good}\r\nContent-Length: 9\r\n\r\nabc"
    writer.write(head.encode())
    async with asyncio.timeout(5):
        await setup.airflow.entered.wait()
        await setup.client.close(writer)
        await setup.airflow.left.wait()


async def test_a_web_server_that_breaks_off_cuts_the_client_off_too(setup: Any, good: str) -> None:
    reader, writer = await setup.client.connect(setup.host)
    writer.write(f"GET /break HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token={good}\r\n\r\n".encode())
    async with asyncio.timeout(5):
        assert (await setup.client.head(reader)).header("content-length") == "100"
        assert await reader.read() == b"half"
    await setup.client.close(writer)


async def test_a_web_server_that_hangs_up_at_once_is_502(setup: Any, good: str) -> None:
    answer = await setup.get("/close", good, method="POST", body=b"x")
    assert (answer.status, answer.header("retry-after")) == (502, "5")
    assert len(setup.airflow.seen) == 1  # a POST is not repeated


async def test_no_web_server_is_503_with_a_page_that_loads_again(setup: Any, good: str, route: Any) -> None:
    await setup.gateway.add(route("aaa", ["127.0.0.1:1"]))
    page = await setup.get("/", good, headers=[("Accept", "text/html")])
    assert (page.status, page.header("retry-after")) == (503, "5")
    assert b'http-equiv="refresh"' in page.body
    assert (await setup.get("/", good)).json()["status"] == 503


async def test_a_dead_web_server_is_passed_over(setup: Any, good: str, route: Any) -> None:
    await setup.gateway.add(route("aaa", ["127.0.0.1:1", setup.airflow.address]))
    for _ in range(4):
        assert (await setup.get("/x", good, method="POST", body=b"abc")).json()["body"] == "abc"


async def test_web_servers_take_turns(setup: Any, good: str, route: Any) -> None:
    both = [setup.airflow.address, setup.airflows["bbb"].address]
    await setup.gateway.add(route("aaa", both))
    assert {(await setup.get("/x", good)).json()["who"] for _ in range(4)} == {"aaa", "bbb"}


async def test_connections_are_kept_alive_on_both_sides(setup: Any, good: str) -> None:
    reader, writer = await setup.client.connect(setup.host)
    async with asyncio.timeout(5):
        for _ in range(3):
            writer.write(f"GET /x HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token={good}\r\n\r\n".encode())
            assert (await setup.client.read(reader)).status == 200
    await setup.client.close(writer)


async def test_a_stalled_upload_is_408(setup: Any, good: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        setup.gateway.app._forwarder, "_limits", replace(setup.gateway.app._forwarder._limits, body_idle=0.1)
    )
    head = f"POST /upload HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token={good}\r\nContent-Length: 9\r\n\r\nabc"
    answer = await setup.client.raw(setup.host, head.encode())
    assert (answer.status, answer.header("connection")) == (408, "close")

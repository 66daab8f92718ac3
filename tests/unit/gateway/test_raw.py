"""Bytes that no polite client sends: hosts, smuggling, encodings, slow clients."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from aerodrome.gateway.ports import Limits


@pytest.fixture
def limits() -> Limits:
    return Limits(connect=1.0, body_idle=2.0, head=0.5, handshake=0.5, head_size=8192, send_idle=0.3)


async def status(setup: Any, text: str) -> int:
    """Of the answer to these bytes ({host} and {cookie} filled in), 0 when the connection is just closed."""
    setup.world.sign_in("good")
    data = text.format(host=setup.host, cookie="Cookie: _token=good").replace("\n", "\r\n").encode("latin-1")
    try:
        return int((await setup.client.raw(setup.host, data)).status)
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0


async def test_the_form_used_below_is_served_when_nothing_is_wrong(setup: Any) -> None:
    assert await status(setup, "GET /x HTTP/1.1\nHost: {host}\n{cookie}\n\n") == 200


@pytest.mark.parametrize(
    "text",
    [
        "GET /x HTTP/1.1\n{cookie}\n\n",
        "GET /x HTTP/1.0\n{cookie}\n\n",
        "GET /x HTTP/1.1\nHost: {host}\nHost: other\n{cookie}\n\n",
        "GET https://{host}/x HTTP/1.1\nHost: {host}\n{cookie}\n\n",
        "GET https://{host}/execution/ HTTP/1.1\nHost: {host}\n{cookie}\n\n",
        "GET x HTTP/1.1\nHost: {host}\n{cookie}\n\n",
        "OPTIONS * HTTP/1.1\nHost: {host}\n{cookie}\n\n",
        "POST /x HTTP/1.1\nHost: {host}\n{cookie}\nContent-Length: 3\nTransfer-Encoding: chunked\n\n0\n\n",
        "POST /x HTTP/1.1\nHost: {host}\n{cookie}\nTransfer-Encoding: chunked\nContent-Length: 3\n\n0\n\n",
        "POST /x HTTP/1.1\nHost: {host}\n{cookie}\nContent-Length: 3\nContent-Length: 4\n\nabcd",
        "POST /x HTTP/1.1\nHost: {host}\n{cookie}\nContent-Length: +3\n\nabc",
        "POST /x HTTP/1.1\nHost: {host}\n{cookie}\nContent-Length: -1\n\n",
        "POST /x HTTP/1.1\nHost: {host}\n{cookie}\nTransfer-Encoding: gzip, chunked\n\n0\n\n",
        "POST /x HTTP/1.1\nHost: {host}\n{cookie}\nTransfer-Encoding: chunked\nTransfer-Encoding: identity\n\n0\n\n",
        "POST /x HTTP/1.1\nHost: {host}\n{cookie}\nTransfer-Encoding : chunked\n\n0\n\n",
        "POST /x HTTP/1.1\nHost: {host}\n{cookie}\nTransfer-Encoding: \x0bchunked\n\n0\n\n",
        "GET /x HTTP/1.1\nHost: {host}\n{cookie}\nX-A: b\x00c\n\n",
        "GET /x y HTTP/1.1\nHost: {host}\n{cookie}\n\n",
        "CONNECT {host} HTTP/1.1\nHost: {host}\n{cookie}\n\n",
        "GET /x HTTP/1.1\nHost: {host}\n{cookie}\nX-Long: " + "x" * 1_000_000 + "\n\n",
    ],
)
async def test_ambiguous_or_broken_requests_never_reach_a_web_server(setup: Any, text: str) -> None:
    assert await status(setup, text) in (400, 404, 405, 431, 501)
    assert setup.airflow.seen == []


async def test_trace_and_web_sockets_are_refused(setup: Any) -> None:
    assert await status(setup, "TRACE /x HTTP/1.1\nHost: {host}\n{cookie}\n\n") == 405
    upgrade = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: eA==\nSec-WebSocket-Version: 13"
    assert await status(setup, "GET /x HTTP/1.1\nHost: {host}\n{cookie}\n" + upgrade + "\n\n") == 501
    assert setup.airflow.seen == []
    h2c = "Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: x"
    assert await status(setup, "GET /x HTTP/1.1\nHost: {host}\n{cookie}\n" + h2c + "\n\n") == 200
    assert not {"upgrade", "http2-settings"} & {name for name, _ in setup.airflow.seen[0]["headers"]}


async def test_a_smuggled_second_request_is_judged_by_itself(setup: Any) -> None:
    setup.world.sign_in("good")
    reader, writer = await setup.client.connect(setup.host)
    inner = f"GET /execution/ HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token=good\r\n\r\n"
    outer = f"POST /x HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token=good\r\nContent-Length: 3\r\n\r\nabc"
    async with asyncio.timeout(5):
        writer.write((outer + inner).encode())
        assert (await setup.client.read(reader)).json()["body"] == "abc"
        assert (await setup.client.read(reader)).status == 404
    await setup.client.close(writer)
    assert len(setup.airflow.seen) == 1


@pytest.mark.parametrize(
    "host",
    ["other.airflow.localhost", "127.0.0.1", "localhost:8443", "aaa.us-east-1.airflow.localhost.evil.example", "a b"],
)
async def test_unknown_hosts_are_404(setup: Any, host: str) -> None:
    answer = await setup.client.raw(setup.host, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.status == 404
    assert "WebserverUrl" in answer.json()["message"]


async def test_case_dot_and_port_of_the_host_dont_matter(setup: Any) -> None:
    setup.world.sign_in("good")
    for host in ("AAA.us-east-1.AIRFLOW.localhost", "aaa.us-east-1.airflow.localhost.:9"):
        request = f"GET /x HTTP/1.1\r\nHost: {host}\r\nCookie: _token=good\r\n\r\n".encode()
        assert (await setup.client.raw(setup.host, request)).status == 200


EXECUTION = [
    "/execution",
    "/execution/",
    "/execution/task-instances/1/run",
    "/Execution/x",
    "/EXECUTION",
    "//execution/x",
    "/./execution",
    "/x/../execution/",
    "/execution/../dags",
    "/%65xecution/",
    "/%2565xecution",
    "/%2e%2e/execution",
    "/x/%2e%2e/execution",
    "/%2fexecution",
    "/%5cexecution",
    "/\\execution",
    "/;a=b/execution",
    "/execution;a=b/x",
    "/..;/execution",
    "/execution%00",
    "/execution%20/",
    "/%20execution",
    "/execution%09/x",
    "/execution?x=1",
    "/execution#x",
    "/execution%3f",
    "/%EF%BD%85xecution",
    "/%" + "25" * 30 + "65xecution",
]


async def test_the_task_api_is_404_in_every_spelling_even_when_signed_in(setup: Any) -> None:
    setup.world.sign_in("good")
    for path in EXECUTION:
        assert (path, (await setup.get(path, "good")).status) == (path, 404)
    for headers in ([("Authorization", "Bearer good")], []):
        assert (await setup.get("/execution/", headers=headers, method="POST")).status == 404
    assert setup.airflow.seen == []


@pytest.mark.parametrize("path", ["/executions", "/dags/execution", "/api/v2/execution", "/x?next=/execution", "/"])
async def test_other_paths_pass(setup: Any, path: str) -> None:
    setup.world.sign_in("good")
    assert (await setup.get(path, "good")).status == 200


@pytest.mark.parametrize(
    "path", ["/%61ws_mwaa/login", "/aws_mwaa/%6cogin", "/AWS_MWAA/login", "/x/../aws_mwaa/login", "//aws_mwaa/cli"]
)
async def test_another_spelling_of_a_sign_in_path_is_no_sign_in_path(setup: Any, path: str) -> None:
    assert (await setup.get(path, method="POST", body=b"token=x")).status in (401, 404)
    assert setup.airflow.seen == []


async def test_other_paths_below_the_sign_in_prefix_are_ours(setup: Any) -> None:
    setup.world.sign_in("good")
    assert (await setup.get("/aws_mwaa/anything", "good")).status == 404
    assert (await setup.get("/pluginsv2/aws_mwaa", "good")).status == 404
    assert setup.airflow.seen == []


async def closes(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except (ConnectionError, ssl.SSLError):
        return True


async def test_slow_clients_are_cut_off_and_hold_nobody_up(setup: Any) -> None:
    setup.world.sign_in("good")
    slow = [await setup.client.connect(setup.host) for _ in range(20)]
    for _, writer in slow[:10]:
        writer.write(b"GET /x HTTP/1.1\r\nHost: ")  # the others say nothing at all
    assert (await setup.get("/x", "good")).status == 200
    async with asyncio.timeout(3):
        while not all(reader.at_eof() for reader, _ in slow):
            for _, writer in slow[:10]:
                writer.write(b"x")  # trickling doesn't help
            await asyncio.gather(*(asyncio.wait_for(closes(reader), 0.2) for reader, _ in slow), return_exceptions=True)
    for _, writer in slow:
        await setup.client.close(writer)


async def test_a_trickled_second_head_on_a_kept_connection_is_cut_off(setup: Any) -> None:
    setup.world.sign_in("good")
    reader, writer = await setup.client.connect(setup.host)
    async with asyncio.timeout(3):
        writer.write(f"GET /x HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token=good\r\n\r\n".encode())
        assert (await setup.client.read(reader)).status == 200
        writer.write(b"GET /x HT")
        assert await closes(reader)
    await setup.client.close(writer)


async def test_a_client_that_never_reads_its_answer_is_cut_off(setup: Any) -> None:
    setup.world.sign_in("good")
    reader, writer = await setup.client.connect(setup.host)
    writer.transport.pause_reading()
    async with asyncio.timeout(5):
        writer.write(f"GET /big HTTP/1.1\r\nHost: {setup.host}\r\nCookie: _token=good\r\n\r\n".encode())
        await setup.airflow.left.wait()  # the web server is free again
    writer.transport.abort()
    assert reader.exception() is None


async def test_a_connection_without_a_handshake_is_cut_off(setup: Any) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", setup.client.port)
    async with asyncio.timeout(3):
        assert await closes(reader)
    await setup.client.close(writer)


async def test_old_tls_and_plain_http_are_refused(setup: Any, trust: ssl.SSLContext) -> None:
    trust.minimum_version = ssl.TLSVersion.TLSv1_2
    trust.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await setup.client.connect(setup.host)
    tls = writer.get_extra_info("ssl_object")
    assert tls.version() in ("TLSv1.2", "TLSv1.3")
    assert tls.selected_alpn_protocol() == "http/1.1"
    await setup.client.close(writer)
    reader, writer = await asyncio.open_connection("127.0.0.1", setup.client.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(3):
        assert b"HTTP/1.1 200" not in await reader.read()
    await setup.client.close(writer)

"""Strangers in front of the embedded cloud: they shut nobody out."""

from __future__ import annotations

import asyncio
import http.client
import os
import resource
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.crowds import slow_clients, trickling

FILES = 800  # that the cloud may have open
CROWD = 1000
KNOWN = (
    "Authorization: AWS4-HMAC-SHA256 Credential={}/20261122/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
)


@pytest.fixture
def small_cloud(stopped_cloud: Any) -> Iterator[Any]:
    """A running cloud that may have few files open, and we many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * CROWD:
        pytest.skip("this many connections take more open files than this machine allows")
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
    try:
        stopped_cloud.start()
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        yield stopped_cloud
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def serves(cloud: Any, name: str) -> None:
    """Both ways in answer, and what they promise is written down."""

    def ask() -> None:
        s3 = cloud.client("s3", connect_timeout=5, read_timeout=10)
        s3.create_bucket(Bucket=name)
        assert name in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]

    await asyncio.to_thread(ask)
    assert (await cloud.socket.ping())["version"]


@pytest.mark.parametrize("words", ["", "GET / HTTP/1.1\r\nX-A: ", "body"], ids=["silence", "heads", "bodies"])
async def test_a_crowd_shuts_nobody_out(small_cloud: Any, words: str) -> None:
    if words == "body":  # of somebody whose key is known, so that the gate waits for it
        user, _ = await asyncio.to_thread(small_cloud.user, "slow")
        words = f"PUT /b/k HTTP/1.1\r\nHost: x\r\n{KNOWN.format(user)}\r\nContent-Length: 100000\r\n\r\n"
    async with (
        slow_clients(small_cloud.port, CROWD, words.encode()) as crowd,
        trickling(crowd, 1.0, b"x" if words else b""),
    ):
        for number in range(3):
            await serves(small_cloud, f"bucket-{number}")


async def test_who_left_holds_nothing(shared_cloud: Any) -> None:
    """hypercorn itself keeps such connections until their keep-alive time is over."""
    files = f"/proc/{shared_cloud._process.pid}/fd"
    before = len(os.listdir(files))
    for _ in range(3):
        async with slow_clients(shared_cloud.port, 100, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") as crowd:
            for client in crowd:
                assert (await client.reader.readline()).startswith(b"HTTP/1.1 200")
    async with asyncio.timeout(20):
        while len(os.listdir(files)) > before + 20:
            await asyncio.to_thread(time.sleep, 0.1)  # another process has no event for it


async def test_an_answer_leaves_in_one_piece(shared_cloud: Any) -> None:
    """A cloud that is killed has sent all of a short answer or nothing: botocore takes a head alone for a success."""
    reader, writer = await asyncio.open_connection("127.0.0.1", shared_cloud.port)
    async with asyncio.timeout(20):
        for method, end in [("GET", b"}"), ("HEAD", b"\r\n\r\n")] * 20:
            writer.write(f"{method} /healthz HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = await reader.read(64 * 1024)
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.endswith(end)
    writer.close()
    await writer.wait_closed()


async def test_slow_heads_are_cut_off_and_slow_uploads_are_not(shared_cloud: Any) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(13):  # longer than a head may take
            yield b"x" * 10_000
            time.sleep(1)

    def upload() -> None:
        s3 = shared_cloud.client("s3")
        s3.create_bucket(Bucket="slow-upload")
        url = s3.generate_presigned_url("put_object", Params={"Bucket": "slow-upload", "Key": "k"}, ExpiresIn=600)
        connection = http.client.HTTPConnection("127.0.0.1", shared_cloud.port, timeout=60)
        connection.request("PUT", url[url.index("/", 8) :], body=body(), headers={"Content-Length": "130000"})
        assert connection.getresponse().status == 200
        connection.close()
        assert s3.head_object(Bucket="slow-upload", Key="k")["ContentLength"] == 130_000

    uploading = asyncio.create_task(asyncio.to_thread(upload))
    async with slow_clients(shared_cloud.port, 1, b"GET / HTTP/1.1\r\nX-A: ") as [client], trickling([client], 0.5):
        assert await client.is_cut(30)  # a connection without a request has more time
    await uploading


async def test_the_private_socket_takes_as_many_as_come_at_once(shared_cloud: Any) -> None:
    answers = await asyncio.gather(*(shared_cloud.socket.ping() for _ in range(400)))
    assert len({answer["pid"] for answer in answers}) == 1

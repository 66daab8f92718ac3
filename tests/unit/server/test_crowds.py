"""The front door and people who take their time: they are cut off in the end, and shut nobody out until then."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from unittest.mock import ANY

import pytest

from aerodrome.api.app import FrontDoor
from aerodrome.api.call import Call
from aerodrome.relay import Relay
from aerodrome.web.crowd import affordable
from aerodrome.web.limits import ConnectionLimits
from aerodrome.web.protocol import Fast, Strict
from aerodrome.wire import Reply, Wire
from support.asgi import serving
from support.crowds import Slow, listening, slow_clients, trickling

ROOM = 20
PUT = b"PUT /bucket/key HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
CREATE = b"PUT /environments/demo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
OWN = [(b"connection", b"close"), (b"content-length", b"11")]
LIMITS = ConnectionLimits(head=0.5, head_size=64 * 1024, send_idle=0.5, linger=0.5, connections=ROOM)
PATIENT = ConnectionLimits(head=60, send_idle=60, keep_alive=60, connections=ROOM)  # only a full house closes these


@dataclass
class Cloud:
    """The server behind: counts the bytes of uploads, and has one endless answer."""

    sizes: list[int] = field(default_factory=list)
    sent: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/endless":
            await self._endless(receive, send)
            return
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        self.sizes.append(size)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"cloud"})

    async def _endless(self, receive: Any, send: Any) -> None:
        gone = asyncio.ensure_future(_gone(receive))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            self.sent += 65536
            await asyncio.sleep(0)
        self.left.set()


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def mwaa(call: Call) -> Reply:
    return Reply(200, {"connection": "close"}, b"ours %d" % len(call.body))


async def own(scope: Any, receive: Any, send: Any) -> None:
    """The credentials endpoint's place."""
    await send({"type": "http.response.start", "status": 200, "headers": OWN})
    await send({"type": "http.response.body", "body": b"credentials"})


@dataclass
class House:
    port: int
    cloud: Cloud

    async def get(self, path: str, method: str = "GET", body: bytes = b"") -> tuple[int, str]:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        async with asyncio.timeout(5), slow_clients(self.port, 1, head.encode() + body) as [client]:
            return await client.answer()

    async def serves(self) -> None:
        """Everything that others depend on is answered."""
        for path, word in (("/environments/demo", "ours 0"), ("/_aerodrome/credentials/x", "credentials")):
            status, text = await self.get(path)
            assert (status, text.endswith(word)) == (200, True), text
        status, text = await self.get("/bucket")
        assert (status, text.endswith("cloud")) == (200, True), text


@asynccontextmanager
async def house(limits: ConnectionLimits, **relay: Any) -> AsyncIterator[House]:
    cloud = Cloud()
    async with serving(cloud) as behind:
        passing_on = Relay("127.0.0.1", int(behind.rpartition(":")[2]), **{"idle": 0.5, **relay})
        front = FrontDoor(
            own=own, mwaa=mwaa, history=mwaa, wire=Wire("mwaa"), cloud=passing_on, healthy=bool, body_seconds=0.5
        )
        async with listening(front, limits) as port:
            yield House(port, cloud)
        await passing_on.close()


@pytest.mark.parametrize(
    ("first_words", "byte"),
    [(b"", b""), (b"GET /x HTTP/1.1\r\nX-A: ", b"x"), (CREATE, b"x"), (PUT % 1000, b"x"), (PUT % 10**9, b"x" * 999)],
    ids=["silence", "heads", "bodies", "uploads", "long uploads"],
)
async def test_a_crowd_shuts_nobody_out(first_words: bytes, byte: bytes) -> None:
    """Three times as many as there is room for, and nobody of them has to be given up on first."""
    async with (
        house(PATIENT, idle=60) as place,
        slow_clients(place.port, 3 * ROOM, first_words) as crowd,
        trickling(crowd, 0.02, byte),
    ):
        for _ in range(3):
            await asyncio.sleep(0.05)  # the crowd has said its words, and goes on
            await asyncio.gather(*(place.serves() for _ in range(4)))


async def test_who_has_waited_longest_makes_room() -> None:
    async with (
        house(PATIENT) as place,
        slow_clients(place.port, ROOM, b"GET /x HT") as early,
        slow_clients(place.port, 3, b"GET /x HT"),
    ):
        for client in early[:3]:
            assert await client.is_cut()
        assert not await early[3].is_cut(0.1)


async def test_a_house_full_of_busy_people_turns_others_away() -> None:
    begun, end = asyncio.Semaphore(0), asyncio.Event()

    async def busy(scope: Any, receive: Any, send: Any) -> None:
        begun.release()
        await end.wait()
        await own(scope, receive, send)

    request = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
    async with listening(busy, PATIENT) as port, slow_clients(port, ROOM, request) as working:
        for _ in working:
            await begun.acquire()
        async with slow_clients(port, 1, request) as [late]:
            assert await late.is_cut()
        end.set()
        assert [(await client.answer())[0] for client in working] == [200] * ROOM


async def test_slow_heads_are_cut_off() -> None:
    kept = b"GET /bucket HTTP/1.1\r\nHost: x\r\n\r\n"
    async with house(LIMITS) as place, slow_clients(place.port, 4) as crowd:
        crowd[1].say(b"GET /x HTTP/1.1\r\nX-A: ")
        crowd[2].say(kept)
        assert (await crowd[2].reader.readuntil(b"cloud")).startswith(b"HTTP/1.1 200")
        crowd[2].say(b"GET /x")  # a second one on a kept connection
        crowd[3].say(kept * 3)  # no clock is left running where all is well
        async with trickling(crowd[1:3], 0.05):
            assert all([await client.is_cut() for client in crowd[:3]])
        for _ in range(3):
            await crowd[3].reader.readuntil(b"cloud")
        crowd[3].say(kept)
        assert (await crowd[3].reader.readuntil(b"cloud")).startswith(b"HTTP/1.1 200")


async def test_a_head_without_end_is_cut_off() -> None:
    async with (
        house(PATIENT) as place,
        slow_clients(place.port, 1, b"GET /x HTTP/1.1\r\n") as [client],
        trickling([client], 0.001, b"X-Long: " + b"x" * 8000 + b"\r\n"),
    ):
        assert await client.is_cut()


async def test_a_body_of_a_call_has_its_time_however_it_trickles() -> None:
    async with house(LIMITS) as place, slow_clients(place.port, 1, CREATE) as [client], trickling([client], 0.05):
        async with asyncio.timeout(5):
            status, text = await client.answer()
    assert (status, "RequestTimeoutException" in text, "connection: close" in text) == (408, True, True)


@pytest.mark.parametrize("protocol", [Fast, Strict])
async def test_an_answer_reaches_who_is_still_sending(protocol: type[Fast] | type[Strict]) -> None:
    """A reset would take it away: the sender is heard out for a moment, and nothing it says is taken for a request."""
    asked: list[str] = []

    async def hasty(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        headers = [(b"connection", b"close"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": b"no"})

    patient = ConnectionLimits(linger=60)
    async with (
        asyncio.timeout(20),
        listening(hasty, patient, protocol) as port,
        slow_clients(port, 1, PUT % 10_000_000) as [client],
    ):
        for _ in range(99):
            client.say(b"x" * 100_000)
            await client.writer.drain()
        client.say(b"x" * 100_000 + b"GET /another HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.writer.drain()
        assert await client.answer() == (413, ANY)
    assert asked == ["/bucket/key"]


async def test_who_is_still_sending_is_cut_off_in_the_end() -> None:
    async def hasty(scope: Any, receive: Any, send: Any) -> None:
        await own(scope, receive, send)

    async with (
        listening(hasty, ConnectionLimits(linger=0.2)) as port,
        slow_clients(port, 1, PUT % 10_000_000) as [client],
        asyncio.timeout(20),
    ):
        assert (await client.answer())[0] == 200
        with suppress(ConnectionError):
            while True:
                client.writer.write(b"x")
                await client.writer.drain()
                await asyncio.sleep(0.01)


async def test_an_upload_may_be_slow_and_long() -> None:
    first_words = PUT % 100_000 + b"x" * 99_980
    async with house(LIMITS, idle=1.0) as place, slow_clients(place.port, 1, first_words) as [client]:
        for _ in range(20):  # 1.6 s: longer than silence or a call of ours may be
            await asyncio.sleep(0.08)
            client.say(b"x")
        async with asyncio.timeout(5):
            assert (await client.reader.readuntil(b"cloud")).startswith(b"HTTP/1.1 200")
    assert place.cloud.sizes == [100_000]


async def test_calls_have_their_turns_and_those_that_wait_for_others_have_turns_of_their_own() -> None:
    end, running = asyncio.Event(), [0]

    async def stuck(call: Call) -> Reply:
        running[0] += 1
        await end.wait()
        return Reply(200, {"connection": "close"}, b"")

    front = FrontDoor(own=own, mwaa=stuck, history=mwaa, wire=Wire("mwaa"), cloud=None, healthy=bool, turn_seconds=0.5)
    lines = (b"GET /environments", b"POST /restapi/x")
    get, invoke = (b"%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % line for line in lines)
    async with (
        listening(front, ConnectionLimits(connections=100)) as port,
        slow_clients(port, 50, get) as crowd,
        slow_clients(port, 3, invoke) as others,
    ):
        answers = [asyncio.create_task(client.answer()) for client in crowd]
        for first in islice(asyncio.as_completed(answers), 50 - 8):
            status, text = await first
            assert (status, "ThrottlingException" in text) == (429, True)
        assert running == [8 + 3]
        end.set()
        assert sorted(status for status, _ in await asyncio.gather(*answers)) == [200] * 8 + [429] * 42
        assert [(await client.answer())[0] for client in others] == [200] * 3


@pytest.mark.parametrize("begun", [b"x" * 10, b"x" * 99_980], ids=["gathered here", "on its way"])
async def test_an_upload_that_stops_coming_is_cut_off(begun: bytes) -> None:
    async with house(LIMITS) as place, slow_clients(place.port, 1, PUT % 100_000 + begun) as [client]:
        async with asyncio.timeout(5):
            status, text = await client.answer()
    assert (status, "<Code>RequestTimeout</Code>" in text) == (400, True)
    assert place.cloud.sizes == []


@pytest.mark.parametrize("begun", [b"x" * 10, b"x" * 90_000], ids=["gathered here", "on their way"])
async def test_slow_uploads_leave_the_cloud_to_others(begun: bytes) -> None:
    async with (
        house(PATIENT, idle=60, connections=2) as place,
        slow_clients(place.port, 5, PUT % 100_000 + begun) as crowd,
        trickling(crowd, 0.02),
    ):
        for _ in range(3):
            await place.serves()
        if len(begun) == 10:  # not even uploads have to wait for those who have hardly begun
            assert (await place.get("/bucket/key", "PUT", b"y" * 100_000))[0] == 200


async def test_a_reader_who_never_reads_is_cut_off() -> None:
    async with house(LIMITS) as place, slow_clients(place.port, 1) as [client]:
        client.writer.transport.pause_reading()
        client.say(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(5):
            await place.cloud.left.wait()


async def test_nothing_is_fetched_for_somebody_who_left() -> None:
    async with house(PATIENT) as place, slow_clients(place.port, 1) as [client]:
        client.say(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.reader.readexactly(100_000)
        client.leave()
        async with asyncio.timeout(5):
            await place.cloud.left.wait()


async def test_no_more_connections_than_files_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (400, 400))
    assert (affordable(1000), affordable(50)) == (100, 50)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert affordable(1000) == 1000


async def test_answers_are_sent_without_delay() -> None:
    seen: list[int] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        transport = receive.__self__.transport
        seen.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await own(scope, receive, send)

    async with listening(look, LIMITS) as port, slow_clients(port, 1, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") as [client]:
        await client.answer()
    assert seen == [1]


async def test_a_head_goes_out_before_there_is_a_body() -> None:
    more = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await more.wait()
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        await send({"type": "http.response.body", "body": b"cd"})

    async with listening(slow, LIMITS) as port, slow_clients(port, 1, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") as [client]:
        async with asyncio.timeout(5):
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            more.set()
            assert await client.reader.readexactly(4) == b"abcd"


async def test_stopping_lets_an_answer_end() -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def busy(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await end.wait()
        await own(scope, receive, send)

    clients: list[Slow] = []
    async with listening(busy, LIMITS) as port:
        clients = [Slow(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(2)]
        clients[0].say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await begun.wait()
        asyncio.get_running_loop().call_later(0.1, end.set)
    assert (await clients[0].answer())[0] == 200
    assert await clients[1].is_cut()
    for client in clients:
        client.leave()

"""When the loop looks at a bucket: at once where it is told of a write, by itself everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from aerodrome.content.credentials import RoleCredentials
from aerodrome.content.loop import ContentLoop, Source, SyncState, _Runner
from aerodrome.content.sync import ContentSync, Pace, SyncResult
from aerodrome.content.writes import Write
from aerodrome.domain.principal import Credentials, ExecutionRole
from aerodrome.errors import Temporary
from aerodrome.layout import Layout
from support.fake_s3 import FakeS3

NEVER = 3600.0  # seconds
ONE = Source("one", "bucket", "/dags/", "arn:aws:iam::1:role/r", "us-east-1")
OTHERS = [
    Source("elsewhere", "bucket", "dags-2", "arn:aws:iam::1:role/r", "us-east-1"),
    Source("stranger", "bucket-2", "dags", "arn:aws:iam::1:role/r", "us-east-1"),
]


class Roles:
    async def confirm(self, role_arn: str, *, source_arn: str | None = None) -> ExecutionRole:
        return ExecutionRole("AROA1", None)

    async def assume_role(
        self, role_arn: str, session_name: str, duration: int = 3600, *, source_arn: str | None = None
    ) -> Credentials:
        return Credentials("k", "s", "t", datetime.now(UTC) + timedelta(hours=1))


@pytest.fixture
def sync(layout: Layout) -> ContentSync:
    return ContentSync(layout, Pace(rest=0.0))


@pytest.fixture
async def loop(sync: ContentSync, s3: FakeS3) -> AsyncIterator[ContentLoop]:
    """It never looks by itself again."""

    async def sources() -> list[Source]:
        return [ONE, *OTHERS]

    made = ContentLoop(sync, sources, RoleCredentials(Roles()), lambda *_: s3, interval=NEVER)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    sync.close()


def written(loop: ContentLoop, key: str, query: bytes = b"", *, durable: bool = True) -> None:
    """Somebody has put an object."""
    write = begun(loop, key, query)
    loop.ended(write, durable=durable)


def begun(loop: ContentLoop, key: str, query: bytes = b"") -> Write:
    write = Write.of("PUT", f"/bucket/{key}".encode(), query, [])
    assert write is not None
    loop.began(write)
    return write


async def until_seen(loop: ContentLoop, files: int) -> None:
    async with asyncio.timeout(20):
        while (loop.state("one").result or SyncResult("", -1, 0, 0, 0, 0.0)).files != files:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_write_is_looked_after_at_once(loop: ContentLoop, s3: FakeS3) -> None:
    await loop.first_sync("one", 20)
    s3.put("dags/a.py", "a")
    written(loop, "dags/a.py")
    await until_seen(loop, 1)


@pytest.mark.parametrize(
    ("key", "poked"), [("dags/a.py", {"one"}), ("dags-2/a.py", {"elsewhere"}), ("data/a.csv", set()), ("dags", set())]
)
async def test_a_write_pokes_whom_it_may_concern(sync: ContentSync, key: str, poked: set[str]) -> None:
    async def none() -> list[Source]:
        return []

    loop = ContentLoop(sync, none, RoleCredentials(Roles()), lambda *_: FakeS3())
    loop._runners = {source.environment_id: _Runner(source) for source in (ONE, *OTHERS)}
    written(loop, key)
    assert {name for name, runner in loop._runners.items() if runner.poked.is_set()} == poked
    sync.close()


@pytest.mark.parametrize("query", [b"", b"uploadId=u&partNumber=1"])
async def test_a_write_that_failed_or_is_a_part_pokes_nobody(sync: ContentSync, query: bytes) -> None:
    async def none() -> list[Source]:
        return []

    loop = ContentLoop(sync, none, RoleCredentials(Roles()), lambda *_: FakeS3())
    loop._runners = {ONE.environment_id: _Runner(ONE)}
    written(loop, "dags/a.py", query, durable=bool(query))
    write = begun(loop, "dags/a.py")
    loop.ended(write, durable=False)
    loop.ended(write, durable=True)  # the first end counts
    assert not loop._runners["one"].poked.is_set()
    sync.close()


async def test_an_upload_that_is_under_way_is_waited_for(loop: ContentLoop, s3: FakeS3, layout: Layout) -> None:
    """A small file is there already while the large one that belongs to it is still coming."""
    await loop.first_sync("one", 20)
    large = begun(loop, "dags/large.bin", b"uploadId=u&partNumber=1")
    elsewhere = begun(loop, "data/large.bin")
    s3.put("dags/small.py", "small")
    written(loop, "dags/small.py")
    listings = s3.calls["list"]
    async with asyncio.timeout(20):
        while s3.calls["list"] < listings + 10:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not any(layout.dags("one").iterdir())
    s3.put("dags/large.bin", "large")
    loop.ended(large, durable=True)
    await until_seen(loop, 2)
    loop.ended(elsewhere, durable=True)


async def test_a_write_amid_a_look_is_found_by_that_look_or_the_next(loop: ContentLoop, s3: FakeS3) -> None:
    await loop.first_sync("one", 20)
    running = asyncio.get_running_loop()

    def late(_: int) -> None:
        s3.on_list = lambda _: None
        running.call_soon_threadsafe(s3.put, "dags/b.py", "b")
        running.call_soon_threadsafe(written, loop, "dags/b.py")

    s3.put("dags/a.py", "a")
    s3.on_list = late
    written(loop, "dags/a.py")
    await until_seen(loop, 2)


def test_a_folder_that_takes_long_to_list_is_listed_less_often(sync: ContentSync) -> None:
    async def none() -> list[Source]:
        return []

    loop = ContentLoop(sync, none, RoleCredentials(Roles()), lambda *_: FakeS3(), interval=5.0)

    def pause(took: float, changed: int = 0, failures: int = 0) -> float:
        error = Temporary("away") if failures else None
        return loop._pause(SyncState(None, error, SyncResult("1", 10_000, changed, 0, 0, took), failures))

    assert pause(0.1) == 5.0
    assert pause(0.5) == pytest.approx(10.0)
    assert pause(2.0) == 30.0, "never less often than MWAA"
    assert pause(2.0, changed=1) == 5.0, "what it took was not the listing alone"
    assert pause(2.0, failures=1) == 10.0
    assert pause(2.0, failures=9) == 60.0
    sync.close()

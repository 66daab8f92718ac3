"""The loop over all environments: a real S3, a real STS, and a server that never answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aerodrome.aws.clients import AwsClients
from aerodrome.aws.cloud import CloudSocket
from aerodrome.content.credentials import RoleCredentials
from aerodrome.content.loop import ContentLoop, Source
from aerodrome.content.s3 import S3, ClientFactory
from aerodrome.content.sync import ContentSync
from aerodrome.domain.principal import Credentials, ExecutionRole
from aerodrome.errors import Permanent, Temporary
from aerodrome.layout import Layout

if TYPE_CHECKING:
    from conftest import Aws

Put = Callable[[str, str], None]
PATIENT = 20.0  # seconds; far longer than anything here takes when it works


def factory_of(endpoint: str) -> ClientFactory:
    clients = AwsClients({"": endpoint})
    return lambda credentials, region: clients.client("s3", region, credentials)


class Counted:
    """The cloud's own roles, with a count of how often they are assumed."""

    def __init__(self, roles: CloudSocket) -> None:
        self._roles = roles
        self.calls = 0

    async def confirm(self, role_arn: str, *, source_arn: str | None = None) -> ExecutionRole:
        return await self._roles.confirm(role_arn, source_arn=source_arn)

    async def assume_role(
        self, role_arn: str, session_name: str, duration: int = 3600, *, source_arn: str | None = None
    ) -> Credentials:
        self.calls += 1
        return await self._roles.assume_role(role_arn, session_name, duration, source_arn=source_arn)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENT):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


class World:
    """A running loop and its list of sources."""

    def __init__(self, aws: Aws, home: Path, role: str) -> None:
        self.layout = Layout(home)
        self.sources: list[Source] = []
        self.role = role
        self.roles = Counted(aws.socket)
        self.sync = ContentSync(self.layout)

    def add(self, environment_id: str, bucket: str, region: str = "us-east-1") -> None:
        self.sources.append(Source(environment_id, bucket, "dags", self.role, region))

    @asynccontextmanager
    async def running(self, factory: ClientFactory, **options: Any) -> AsyncIterator[ContentLoop]:
        async def list_sources() -> list[Source]:
            return list(self.sources)

        loop = ContentLoop(self.sync, list_sources, RoleCredentials(self.roles), factory, **options)
        task = asyncio.create_task(loop.run())
        try:
            yield loop
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.sync.close()

    def read(self, environment_id: str, name: str) -> str:
        return (self.layout.dags(environment_id) / name).read_text()


@pytest.fixture
def world(aws: Aws, tmp_path: Path, role: str) -> World:
    return World(aws, tmp_path, role)


async def test_first_sync_then_a_poke(world: World, aws: Aws, bucket: str, put: Put) -> None:
    put("dags/a.py", "one")
    async with world.running(factory_of(aws.url), interval=600) as loop:
        assert loop.state("one").last_success is None
        world.add("one", bucket)
        state = await loop.first_sync("one", PATIENT)
        assert state.result is not None
        assert state.result.files == 1
        assert (datetime.now(UTC) - loop.state("one").last_success).total_seconds() < PATIENT  # type: ignore[operator]
        put("dags/a.py", "two")
        loop.poke("one")
        await until(lambda: world.read("one", "a.py") == "two")
        assert world.roles.calls == 1


async def test_changes_are_seen_by_themselves(world: World, aws: Aws, bucket: str, put: Put) -> None:
    put("dags/a.py", "one")
    world.add("one", bucket)
    async with world.running(factory_of(aws.url), interval=0.1) as loop:
        await loop.first_sync("one", PATIENT)
        put("dags/a.py", "two")
        await until(lambda: world.read("one", "a.py") == "two")


async def test_a_hanging_and_a_failing_bucket_delay_nobody(world: World, aws: Aws, bucket: str, put: Put) -> None:
    """One look at a time, and a bucket whose server takes the request and never answers."""
    put("dags/a.py", "fine")
    released = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    silent = await asyncio.start_server(hang, "127.0.0.1", 0)
    nowhere = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    real, hanging = factory_of(aws.url), factory_of(nowhere)

    def factory(credentials: Credentials, region: str) -> S3:
        return (hanging if region == "eu-west-1" else real)(credentials, region)

    world.add("hanging", bucket, "eu-west-1")
    world.add("failing", "not-there-4711")
    world.add("fine", bucket)
    try:
        async with world.running(factory, interval=0.1, concurrency=1, patience=0.2) as loop:
            await loop.first_sync("fine", PATIENT)
            before = loop.state("fine").last_success
            await until(lambda: loop.state("fine").last_success != before and loop.state("failing").failures > 1)
            assert loop.state("hanging").last_success is None
            assert isinstance(loop.state("failing").error, Permanent)
            with pytest.raises(Permanent, match="not-there-4711"):
                await loop.first_sync("failing", PATIENT)
            with pytest.raises(Temporary, match="hanging was not read within"):
                await loop.first_sync("hanging", 0.3)
            released.set()
    finally:
        silent.close()


async def test_a_failure_passes_when_its_cause_does(world: World, aws: Aws, admin: Any) -> None:
    world.add("one", "comes-later-4711")
    async with world.running(factory_of(aws.url), interval=600) as loop:
        with pytest.raises(Permanent, match="NoSuchBucket"):
            await loop.first_sync("one", PATIENT)
        admin.create_bucket(Bucket="comes-later-4711")
        state = await loop.first_sync("one", PATIENT)
        assert state.error is None


async def test_what_is_forgotten_is_written_no_more(world: World, aws: Aws, bucket: str, put: Put) -> None:
    put("dags/a.py", "one")
    world.add("one", bucket)
    async with world.running(factory_of(aws.url), interval=0.05) as loop:
        await loop.first_sync("one", PATIENT)
        world.sources.clear()
        await loop.forget("one")
        put("dags/a.py", "two")
        with pytest.raises(Temporary):
            await loop.first_sync("one", 0.5)
        assert world.read("one", "a.py") == "one"
        assert loop.state("one").last_success is None

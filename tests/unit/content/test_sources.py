"""What is known of a bucket is forgotten when another one takes its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aerodrome.content.credentials import RoleCredentials
from aerodrome.content.folder import VersionedFolder
from aerodrome.content.loop import ContentLoop, Source, source_of
from aerodrome.content.manifest import Manifest
from aerodrome.content.sync import SyncResult
from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.principal import Credentials, ExecutionRole
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.server.world import BucketContent
from support.world import environment

RESULT = SyncResult("v", 1, 1, 0, 1, 0.1)


class Buckets:
    """Implements what the loop uses of ContentSync. A look at `slow` ends when `gate` is set."""

    def __init__(self) -> None:
        self.gate, self.looking = asyncio.Event(), asyncio.Event()

    async def sync_dags(self, environment_id: str, bucket: str, *_: Any) -> SyncResult:
        if bucket == "slow":
            self.looking.set()
            await self.gate.wait()
        if bucket == "missing":
            raise Permanent("there is no bucket missing")
        return RESULT


class Roles:
    async def confirm(self, *_: object, **__: object) -> ExecutionRole:
        return ExecutionRole("AROA1", None)

    async def assume_role(self, *_: object, **__: object) -> Credentials:
        return Credentials("key", "secret", "token", datetime.now(UTC) + timedelta(hours=1))


class Client:
    def close(self) -> None: ...


def made(bucket: str, status: Status = Status.UPDATING) -> Environment:
    members = {"SourceBucketArn": f"arn:aws:s3:::{bucket}", "DagS3Path": "dags", "ExecutionRoleArn": "arn:role"}
    return replace(environment(), status=status, desired=members)


class Following:
    def __init__(self) -> None:
        self.buckets = Buckets()
        self.sources: list[Source] = []
        self.loop = ContentLoop(
            self.buckets,  # type: ignore[arg-type]
            self.listed,
            RoleCredentials(Roles()),
            lambda credentials, region: Client(),
            interval=60,
        )

    async def listed(self) -> list[Source]:
        return list(self.sources)

    async def known(self, source: Source) -> None:
        """Until something is known of it; what never is, the test's own timeout ends."""
        while True:
            state = self.loop.state_of(source)
            if state.last_success or state.error:
                return
            await asyncio.sleep(0.01)


@pytest.fixture
async def following() -> AsyncIterator[Following]:
    made = Following()
    task = asyncio.create_task(made.loop.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_new_bucket_is_not_known_from_the_old_one(following: Following) -> None:
    old, missing = source_of(made("old")), source_of(made("missing"))
    following.sources = [old]
    await following.known(old)
    assert following.loop.state_of(missing).last_success is None
    following.sources = [missing]
    await following.known(missing)
    state = following.loop.state_of(missing)
    assert state.last_success is None
    assert isinstance(state.error, Permanent)
    assert following.loop.state_of(old).last_success is None


async def test_a_look_that_was_under_way_says_nothing_of_the_new_bucket(following: Following) -> None:
    slow, new = source_of(made("slow")), source_of(made("missing"))
    following.sources = [slow]
    following.loop.state_of(slow)
    await following.buckets.looking.wait()
    following.sources = [new]
    while following.loop._runners[new.environment_id].source != new:
        following.loop.state_of(new)
        await asyncio.sleep(0.01)
    following.buckets.gate.set()
    await following.known(new)
    assert following.loop.state_of(new).last_success is None


def on_disk(layout: Layout, source: str) -> None:
    folder = VersionedFolder(layout.dags(environment().id))
    version, new = folder.begin()
    folder.commit(new, Manifest(version, source, new.stat().st_ino, {}))


@pytest.mark.parametrize("status", [Status.UPDATING, Status.ROLLING_BACK, Status.AVAILABLE, Status.CREATING])
@pytest.mark.parametrize("brought", ["now/dags/", "before/dags/"])
async def test_what_lies_on_disk_counts_if_it_is_of_the_bucket(
    following: Following, tmp_path: Path, status: Status, brought: str
) -> None:
    """After a restart of the control plane, with the bucket away."""
    layout = Layout(tmp_path)
    on_disk(layout, brought)
    content = BucketContent(following.loop, layout, RoleCredentials(Roles()))
    state = await content.ensure(made("now", status))
    expected = status is Status.AVAILABLE or (status is not Status.CREATING and brought.startswith("now"))
    assert (state.synced_at is not None) == expected

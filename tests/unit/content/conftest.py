"""A bucket in memory, an environment's folder, and a look that waits for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aerodrome.content.sync import ContentSync, Pace, SyncResult
from aerodrome.layout import Layout
from support.fake_s3 import FakeS3

ENVIRONMENT = "0123456789ab"
Look = Callable[[], SyncResult]


class Clock:
    """Time that passes when somebody sleeps. `slept` are the naps; `during` is called in each."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.during: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        self.during()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


@pytest.fixture
def dags(layout: Layout) -> Path:
    return layout.dags(ENVIRONMENT)


@pytest.fixture
def s3() -> FakeS3:
    return FakeS3()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def look(layout: Layout, s3: FakeS3, clock: Clock) -> Iterator[Look]:
    """One look at the folder `dags` of the bucket."""
    sync = ContentSync(layout, Pace(rest=1.0, restless=30.0, sleep=clock.sleep, clock=clock))
    yield lambda: asyncio.run(sync.sync_dags(ENVIRONMENT, "bucket", "dags", s3))
    sync.close()


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}

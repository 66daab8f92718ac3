"""What it costs to look at a large DAG folder that nothing happens to: requests to S3, and processor time.

The same loop and S3 client as in the control plane, in this process, so that its requests can be counted.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aerodrome.aws.clients import AwsClients
from aerodrome.content.credentials import RoleCredentials
from aerodrome.content.loop import ContentLoop, Source
from aerodrome.content.sync import ContentSync
from aerodrome.domain.principal import Credentials, ExecutionRole
from aerodrome.layout import Layout
from bench.measure import cpu_seconds
from support.site import Site

_BUCKET, _ENVIRONMENT = "bench-many", "0123456789ab"
_UPLOADS = 8  # at once


@dataclass(frozen=True, slots=True)
class Idle:
    """Of one minute. `sync` and `cloud`: seconds of processor time, of the side that asks and of S3."""

    requests: int
    sync: float
    cloud: float


class _Administrator:
    """In place of an execution role: what reads the bucket is the administrator's own key."""

    def __init__(self, site: Site) -> None:
        self._key = site.installation.admin_access_key, site.installation.admin_secret_key

    async def confirm(self, role_arn: str, *, source_arn: str | None = None) -> ExecutionRole:
        return ExecutionRole("", None)

    async def assume_role(
        self, role_arn: str, session_name: str, duration: int = 3600, *, source_arn: str | None = None
    ) -> Credentials:
        return Credentials(*self._key, "", datetime.now(UTC) + timedelta(days=1))


def fill(site: Site, objects: int) -> None:
    """Make the bucket with that many small objects below `dags/`."""
    s3 = site.client("s3")
    s3.create_bucket(Bucket=_BUCKET)

    def put(number: int) -> None:
        s3.put_object(Bucket=_BUCKET, Key=f"dags/{number % 100:02}/{number:05}.sql", Body=b"select 1")

    with ThreadPoolExecutor(_UPLOADS) as pool:
        list(pool.map(put, range(objects)))


def measure(site: Site, minutes: int) -> list[Idle]:
    """Each minute by itself, after everything has been brought once."""
    return asyncio.run(_measure(site, minutes))


async def _measure(site: Site, minutes: int) -> list[Idle]:
    installation, counted = site.installation, Counter[str]()
    clients = AwsClients({"": f"http://127.0.0.1:{installation.cloud_port}"})
    source = Source(_ENVIRONMENT, _BUCKET, "dags", "arn:aws:iam::100000000001:role/bench", installation.region)

    def client(credentials: Credentials, region: str) -> Any:
        made = clients.client("s3", region, credentials)
        made.meta.events.register("before-send.s3", lambda **_: counted.update(["requests"]))
        return made

    async def sources() -> list[Source]:
        return [source]

    cloud = _cloud(site)
    with _syncing() as sync:
        loop = ContentLoop(sync, sources, RoleCredentials(_Administrator(site)), client)
        running = asyncio.create_task(loop.run())
        try:
            await loop.first_sync(_ENVIRONMENT, 600)
            return [await _minute(counted, cloud) for _ in range(minutes)]
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@contextmanager
def _syncing() -> Iterator[ContentSync]:
    home = Path(tempfile.mkdtemp(prefix="aero-bench-", dir="/tmp"))
    sync = ContentSync(Layout(home))
    try:
        yield sync
    finally:
        sync.close()
        shutil.rmtree(home, ignore_errors=True)


async def _minute(counted: Counter[str], cloud: int) -> Idle:
    requests, mine, theirs = counted["requests"], time.process_time(), cpu_seconds([cloud])
    await asyncio.sleep(60)
    return Idle(counted["requests"] - requests, time.process_time() - mine, cpu_seconds([cloud]) - theirs)


def _cloud(site: Site) -> int:
    status = json.loads(site.aerodrome("status", "--json").stdout)
    return next(int(program["pid"]) for program in status["programs"] if program["name"] == "cloud")

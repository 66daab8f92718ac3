"""S3 to an environment's folder: a listing, the changed objects, a listing that confirms them, one exchange.

A bucket has no transactions: who looks while five files are being uploaded finds two of them. So a change is put in
place only when another listing, taken after a moment's rest, names exactly what was fetched.
"""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aerodrome.content.draft import Draft
from aerodrome.content.folder import VersionedFolder
from aerodrome.content.keys import Listed, folder_prefix, plan_files
from aerodrome.content.manifest import Manifest
from aerodrome.content.s3 import S3, list_objects
from aerodrome.errors import Permanent, Temporary
from aerodrome.layout import Layout

_ENVIRONMENTS = 64  # looks at once, at most
_REST = 0.3  # seconds without a change that end an upload; writers of many files pause for less
_RESTLESS = 30.0  # seconds of changes after which what is there is taken: MWAA's own interval
_LISTING_SHARE = 2.0  # times what the last listing took is rested at least: large folders aren't listed all the time


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What one look at a bucket came to. `took` is in seconds; the counts `changed` and `removed` are of files."""

    version: str
    files: int
    changed: int
    removed: int
    bytes: int  # of all files
    took: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pace:
    """How an upload is waited for. All in seconds; `sleep` and `clock` are for tests."""

    rest: float = _REST
    restless: float = _RESTLESS
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


def holds(layout: Layout, environment_id: str, bucket: str, prefix: str) -> bool:
    """Whether the DAGs on disk are known to come from there. Blocking."""
    manifest = VersionedFolder(layout.dags(environment_id)).current()
    return manifest is not None and manifest.source == _source(bucket, folder_prefix(prefix))


def _source(bucket: str, prefix: str) -> str:
    return f"{bucket}/{prefix}"


class ContentSync:
    """Brings what buckets hold to where components read it (`Layout.dags`)."""

    def __init__(self, layout: Layout, pace: Pace | None = None) -> None:
        self._layout = layout
        self._pace = pace or Pace()
        # Of its own, and wide: a handful of hanging buckets must not use up the event loop's threads.
        self._executor = ThreadPoolExecutor(_ENVIRONMENTS, thread_name_prefix="content")
        self._locks: dict[str, threading.Lock] = {}

    async def sync_dags(
        self, environment_id: str, bucket: str, prefix: str, s3: S3, is_written_to: Callable[[], bool] = lambda: False
    ) -> SyncResult:
        """Make the environment's DAG folder what the bucket holds below `prefix`. An unchanged one costs one listing.

        `is_written_to`, asked in another thread: whether uploads to the folder are known to be under way.

        Safe to cancel and to kill: the folder is the old version or the new one.

        Raises:
            Permanent: no such bucket, or the role may not read it.
            Temporary: S3 is away for a moment, or the disk is full.
        """
        folder = VersionedFolder(self._layout.dags(environment_id))
        look = _Look(folder, bucket, folder_prefix(prefix), s3, self._pace, is_written_to)
        lock = self._locks.setdefault(environment_id, threading.Lock())
        return await asyncio.get_running_loop().run_in_executor(self._executor, _locked, lock, look)

    async def forget(self, environment_id: str) -> None:
        """Return when nothing is being written for the environment; its files are the backend's to remove."""
        lock = self._locks.pop(environment_id, None)
        if lock:
            await asyncio.get_running_loop().run_in_executor(self._executor, _wait, lock)

    def close(self) -> None:
        """Let go of the threads; those at work end by themselves."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _wait(lock: threading.Lock) -> None:
    with lock:
        pass


def _locked(lock: threading.Lock, look: _Look) -> SyncResult:
    # A cancelled caller leaves its thread running: the lock is what keeps the next one out of its way.
    with lock:
        try:
            return look.run()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Temporary(
                    f"No space left for the DAGs of bucket {look.bucket} at {look.folder.place}; free some.",
                    retry_after=10,
                ) from error
            raise Temporary(f"The DAGs of bucket {look.bucket} can't be written: {error}", retry_after=10) from error


class _Look:
    """One look at a bucket. Everything blocks."""

    def __init__(
        self,
        folder: VersionedFolder,
        bucket: str,
        prefix: str,
        s3: S3,
        pace: Pace,
        is_written_to: Callable[[], bool],
    ) -> None:
        self.folder = folder
        self.bucket = bucket
        self._prefix = prefix
        self._s3 = s3
        self._pace = pace
        self._is_written_to = is_written_to
        self._started = 0.0
        self._listing = 0.0  # seconds that the last listing took
        self._skipped: list[str] = []  # why objects of it can't be files

    def run(self) -> SyncResult:
        self._started = self._pace.clock()
        wanted = self._list()
        current, source = self.folder.current(), _source(self.bucket, self._prefix)
        if current and current.source != source:
            current = None
        if current and current.files == wanted:
            return self._result(current, 0, 0, self._skipped)
        previous = current.files if current else {}
        try:
            version, new = self.folder.begin()
            draft = Draft(self.folder, new, previous, self.bucket, self._s3)
            draft.follow(wanted)
            self._check_readable(draft, wanted)
            restless = [] if draft.files == previous else self._settle(draft, wait=current is not None)
            warnings = [*self._skipped, *draft.warnings, *restless]
            if current and draft.files == previous:
                return self._result(current, 0, 0, warnings)
            changed = draft.finish()
            manifest = Manifest(version, source, new.stat().st_ino, draft.files)
            self.folder.commit(new, manifest, changed)
        finally:
            self.folder.abandon()
        return self._result(manifest, len(changed), len(previous.keys() - draft.files.keys()), warnings)

    def _list(self) -> dict[str, Listed]:
        before = self._pace.clock()
        wanted, self._skipped = plan_files(list_objects(self._s3, self.bucket, self._prefix), self._prefix)
        self._listing = self._pace.clock() - before
        return wanted

    def _settle(self, draft: Draft, *, wait: bool) -> list[str]:
        """Follow the bucket until it rests; a warning if it doesn't. Nobody uses a first version yet: no `wait`."""
        while True:
            if wait:
                self._pace.sleep(max(self._pace.rest, _LISTING_SHARE * self._listing))
            busy = wait and self._is_written_to()  # asked first: what ends now is in the listing
            wanted = self._list()
            if draft.is_as(wanted) and not busy:
                return []
            draft.follow(wanted)
            wait = True
            if self._pace.clock() - self._started > self._pace.restless:
                return [f"uploads or changes without a pause for {self._pace.restless:g} s: taken as it was then"]

    def _check_readable(self, draft: Draft, wanted: dict[str, Listed]) -> None:
        if wanted and len(draft.warnings) == len(wanted):
            raise Permanent(
                f"Bucket {self.bucket}: the execution role may list it but read none of its {len(wanted)} objects below"
                f" {self._prefix!r}; allow s3:GetObject on them (and kms:Decrypt, if they are encrypted)."
            )

    def _result(self, manifest: Manifest, changed: int, removed: int, warnings: Sequence[str]) -> SyncResult:
        size = sum(item.size for item in manifest.files.values())
        took = self._pace.clock() - self._started
        return SyncResult(manifest.version, len(manifest.files), changed, removed, size, took, tuple(warnings))

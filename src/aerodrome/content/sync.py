"""S3 to an environment's folder: one listing, the changed objects, one exchange of directories."""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from aerodrome.content.folder import VersionedFolder, make_parents, publish
from aerodrome.content.keys import Listed, folder_prefix, plan_files
from aerodrome.content.manifest import Manifest, compare
from aerodrome.content.s3 import S3, Unreadable, download, list_objects
from aerodrome.errors import Permanent, Temporary
from aerodrome.layout import Layout

_ENVIRONMENTS = 64  # looks at once, at most
_DOWNLOADS = 4  # at once, per environment


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


def holds(layout: Layout, environment_id: str, bucket: str, prefix: str) -> bool:
    """Whether the DAGs on disk are known to come from there. Blocking."""
    manifest = VersionedFolder(layout.dags(environment_id)).current()
    return manifest is not None and manifest.source == _source(bucket, folder_prefix(prefix))


def _source(bucket: str, prefix: str) -> str:
    return f"{bucket}/{prefix}"


class ContentSync:
    """Brings what buckets hold to where components read it (`Layout.dags`)."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        # Of its own, and wide: a handful of hanging buckets must not use up the event loop's threads.
        self._executor = ThreadPoolExecutor(_ENVIRONMENTS, thread_name_prefix="content")
        self._locks: dict[str, threading.Lock] = {}

    async def sync_dags(self, environment_id: str, bucket: str, prefix: str, s3: S3) -> SyncResult:
        """Make the environment's DAG folder what the bucket holds below `prefix`. An unchanged one costs one listing.

        Safe to cancel and to kill: the folder is the old version or the new one.

        Raises:
            Permanent: no such bucket, or the role may not read it.
            Temporary: S3 is away for a moment, or the disk is full.
        """
        folder = VersionedFolder(self._layout.dags(environment_id))
        lock = self._locks.setdefault(environment_id, threading.Lock())
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, _locked, lock, folder, bucket, folder_prefix(prefix), s3)

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


def _locked(lock: threading.Lock, folder: VersionedFolder, bucket: str, prefix: str, s3: S3) -> SyncResult:
    # A cancelled caller leaves its thread running: the lock is what keeps the next one out of its way.
    with lock:
        try:
            return _sync(folder, bucket, prefix, s3)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Temporary(
                    f"No space left for the DAGs of bucket {bucket} at {folder.place}; free some.", retry_after=10
                ) from error
            raise Temporary(f"The DAGs of bucket {bucket} can't be written: {error}", retry_after=10) from error


def _sync(folder: VersionedFolder, bucket: str, prefix: str, s3: S3) -> SyncResult:
    started = time.monotonic()
    wanted, warnings = plan_files(list_objects(s3, bucket, prefix), prefix)
    source = _source(bucket, prefix)
    current = folder.current()
    if current and current.source != source:
        current = None
    previous = current.files if current else {}
    difference = compare(previous, wanted)
    if current and not difference.changed and not difference.removed:
        return _result(current, 0, 0, started, warnings)
    try:
        version, new = folder.begin()
        fetched, unreadable = _fetch(s3, bucket, new, [(path, wanted[path]) for path in difference.changed])
        warnings += unreadable.values()
        files = {path: previous[path] for path in [*difference.kept, *(unreadable.keys() & previous.keys())]}
        if not fetched and len(unreadable) == len(wanted) and wanted:
            raise Permanent(
                f"Bucket {bucket}: the execution role may list it but read none of its {len(wanted)} objects below "
                f"{prefix!r}; allow s3:GetObject on them (and kms:Decrypt, if they are encrypted)."
            )
        if current and not fetched and files.keys() == previous.keys():
            return _result(current, 0, 0, started, warnings)
        lost = [(path, previous[path]) for path in files if not folder.keep(new, path, previous[path].size)]
        fetched |= _fetch(s3, bucket, new, lost)[0]
        for path in fetched:
            publish(new / path)
        files = {path: item for path, item in files.items() if path not in dict(lost)} | fetched
        manifest = Manifest(version, source, new.stat().st_ino, files)
        folder.commit(new, manifest)
    finally:
        folder.abandon()
    return _result(manifest, len(fetched), len(previous.keys() - files.keys()), started, warnings)


def _result(manifest: Manifest, changed: int, removed: int, started: float, warnings: Sequence[str]) -> SyncResult:
    size = sum(item.size for item in manifest.files.values())
    took = time.monotonic() - started
    return SyncResult(manifest.version, len(manifest.files), changed, removed, size, took, tuple(warnings))


def _fetch(
    s3: S3, bucket: str, new: Path, objects: Sequence[tuple[str, Listed]]
) -> tuple[dict[str, Listed], dict[str, str]]:
    """What was written, by path, and why what could not be read could not; objects gone by now are in neither."""
    for path, _ in objects:
        make_parents(new, path)

    def one(path: str, item: Listed) -> Listed | str | None:
        try:
            return download(s3, bucket, item.key, new / path)
        except Unreadable as error:
            return str(error)

    with ThreadPoolExecutor(_DOWNLOADS, thread_name_prefix="content-download") as pool:
        answers = list(pool.map(lambda pair: one(*pair), objects))
    outcomes = [(path, answer) for (path, _), answer in zip(objects, answers, strict=True)]
    written = {path: answer for path, answer in outcomes if isinstance(answer, Listed)}
    unreadable = {path: answer for path, answer in outcomes if isinstance(answer, str)}
    return written, unreadable

"""Looks at every environment's bucket again and again; no environment waits for another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from aerodrome.content.credentials import RoleCredentials, utc_now
from aerodrome.content.keys import folder_prefix
from aerodrome.content.s3 import S3, ClientFactory, StaleCredentials
from aerodrome.content.sync import ContentSync, SyncResult
from aerodrome.content.writes import Write
from aerodrome.domain.environment import Environment
from aerodrome.domain.principal import Credentials
from aerodrome.errors import AerodromeError, Temporary

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 60.0  # seconds between two looks at a bucket that keeps failing
_LONGEST_ROUND = 30.0  # seconds between two looks at a large folder that nothing happens to: MWAA's own interval
_SHARE = 0.05  # of the time that looks at such a folder may take


@dataclass(frozen=True, slots=True)
class Source:
    """Where an environment's DAGs are, and who reads them."""

    environment_id: str
    bucket: str
    prefix: str
    role_arn: str
    region: str
    environment_arn: str | None = None


def source_of(environment: Environment) -> Source:
    """Where the environment's DAGs are to be read now."""
    return Source(
        environment_id=environment.id,
        bucket=environment.desired["SourceBucketArn"].split(":::", 1)[1],
        prefix=environment.desired["DagS3Path"],
        role_arn=environment.desired["ExecutionRoleArn"],
        region=environment.key.region,
        environment_arn=environment.key.arn,
    )


@dataclass(frozen=True, slots=True)
class SyncState:
    """What is known of an environment's content. `error` is of the last look; None when that went well."""

    last_success: datetime | None = None
    error: AerodromeError | None = None
    result: SyncResult | None = None  # of the last look that went well
    failures: int = 0  # in a row


@dataclass(slots=True)
class _Runner:
    source: Source
    task: asyncio.Task[None] | None = None
    look: asyncio.Task[None] | None = None
    poked: asyncio.Event = field(default_factory=asyncio.Event)
    looks: int = 0  # ended, well or not
    state: SyncState = field(default_factory=SyncState)
    client: tuple[Credentials, S3] | None = None

    def replace_client(self, client: tuple[Credentials, S3] | None) -> None:
        """Calls that are under way with the old one end as they would have."""
        if self.client:
            self.client[1].close()
        self.client = client


ListSources = Callable[[], Awaitable[Sequence[Source]]]


class ContentLoop:
    """`await run()` until cancelled; everything else may be called at any time from the same event loop."""

    def __init__(
        self,
        sync: ContentSync,
        list_sources: ListSources,
        credentials: RoleCredentials,
        client_factory: ClientFactory,
        *,
        interval: float = 5.0,
        concurrency: int = 4,
        patience: float = 10.0,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """`interval`: seconds between two looks at one bucket (more if its folder takes long to list) and at the list.
        `concurrency`: looks at once, not counting those that take longer than `patience` seconds: a slow bucket must
        not delay the others."""
        self._sync = sync
        self._list_sources = list_sources
        self._credentials = credentials
        self._client_factory = client_factory
        self._interval = interval
        self._slots = asyncio.Semaphore(concurrency)
        self._patience = patience
        self._now = now
        self._runners: dict[str, _Runner] = {}
        self._relist = asyncio.Event()
        self._looked = asyncio.Condition()
        self._writes: dict[int, Write] = {}  # under way, by identity

    async def run(self) -> None:
        """Follow the list of sources until cancelled."""
        try:
            while True:
                try:
                    self._follow(await self._list_sources())
                except AerodromeError as error:
                    log.warning("the list of environments can't be read: %s", error)
                with contextlib.suppress(TimeoutError):  # wait_for loses a cancellation that comes with the event
                    async with asyncio.timeout(self._interval):
                        await self._relist.wait()
                self._relist.clear()
        finally:
            await self._stop([*self._runners])

    def poke(self, environment_id: str) -> None:
        """Look at this environment's bucket now; at the list as well, if the environment is new."""
        runner = self._runners.get(environment_id)
        if runner:
            runner.poked.set()
        else:
            self._relist.set()

    def began(self, write: Write) -> None:
        """Somebody is writing to S3: who is about to put a folder in place waits for the end of it."""
        self._writes[id(write)] = write

    def ended(self, write: Write, *, durable: bool) -> None:
        """It is over. `durable`: it succeeded, so look now wherever it may have changed something."""
        known = self._writes.pop(id(write), None)
        for runner in self._runners.values() if known and durable and write.changes else ():
            if write.is_about(runner.source.bucket, folder_prefix(runner.source.prefix)):
                runner.poked.set()

    def _is_written_to(self, source: Source) -> bool:
        """From any thread: whether an upload to the source's folder is under way."""
        writes = list(self._writes.values())
        return any(write.is_about(source.bucket, folder_prefix(source.prefix)) for write in writes)

    def state(self, environment_id: str) -> SyncState:
        """What is known now; an empty state for an environment never heard of."""
        runner = self._runners.get(environment_id)
        return runner.state if runner else SyncState()

    def state_of(self, source: Source) -> SyncState:
        """What is known of that very source; an empty state, and a look at the list, when another one is followed."""
        runner = self._runners.get(source.environment_id)
        if runner is None or runner.source != source:
            self._relist.set()
            return SyncState()
        return runner.state

    async def first_sync(self, environment_id: str, timeout: float = 30.0) -> SyncState:
        """Wait for one look to have gone well, ever.

        Raises:
            Permanent, Temporary: why the next look failed; Temporary when none ended within `timeout` seconds.
        """
        self.poke(environment_id)
        known = self._runners.get(environment_id)
        looks = known.looks if known else 0

        def settled() -> bool:
            runner = self._runners.get(environment_id)
            return runner is not None and (runner.state.last_success is not None or runner.looks > looks)

        try:
            async with asyncio.timeout(timeout), self._looked:
                await self._looked.wait_for(settled)
        except TimeoutError:
            raise Temporary(f"The bucket of environment {environment_id} was not read within {timeout:g} s.") from None
        state = self.state(environment_id)
        if state.last_success is None and state.error:
            raise state.error
        return state

    async def forget(self, environment_id: str) -> None:
        """End all work for an environment that is being deleted; returns when its files are no longer written.

        The list of sources must not name it any more, or it will be looked at again.
        """
        await self._stop([environment_id])
        await self._sync.forget(environment_id)

    def _follow(self, sources: Sequence[Source]) -> None:
        wanted = {source.environment_id: source for source in sources}
        for environment_id in self._runners.keys() - wanted.keys():
            _cancel(self._runners.pop(environment_id))
        for environment_id, source in wanted.items():
            known = self._runners.get(environment_id)
            if known is None:
                known = self._runners[environment_id] = _Runner(source)
            if known.task is None or known.task.done():
                _report_death(known)
                known.task = asyncio.create_task(self._watch(known), name=f"content-{environment_id}")
            elif known.source != source:
                known.source, known.state = source, SyncState()
                known.replace_client(None)
                known.poked.set()

    async def _stop(self, environment_ids: Sequence[str]) -> None:
        runners = [self._runners.pop(name) for name in environment_ids if name in self._runners]
        tasks = [task for runner in runners for task in _cancel(runner)]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, runner: _Runner) -> None:
        try:
            await self._look_for_ever(runner)
        finally:
            runner.replace_client(None)

    async def _look_for_ever(self, runner: _Runner) -> None:
        while True:
            runner.poked.clear()
            await self._slots.acquire()
            try:
                look = asyncio.create_task(self._look(runner))
                runner.look = look
                await asyncio.wait({look}, timeout=self._patience)
            finally:
                self._slots.release()  # a slow bucket goes on beside the others
            await look
            async with self._looked:
                runner.looks += 1
                self._looked.notify_all()
            pause = self._pause(runner.state)
            with contextlib.suppress(TimeoutError):
                spread = random.uniform(0.9, 1.1)  # noqa: S311
                async with asyncio.timeout(pause * spread):
                    await runner.poked.wait()

    def _pause(self, state: SyncState) -> float:
        """Seconds until the next look that nobody asked for."""
        if state.failures:
            return min(self._interval * 2.0 ** min(state.failures, 6), max(_LONGEST_PAUSE, self._interval))
        idle = state.result is not None and not (state.result.changed or state.result.removed)
        slow = state.result.took / _SHARE if state.result is not None and idle else 0.0
        return max(self._interval, min(slow, _LONGEST_ROUND))

    async def _look(self, runner: _Runner) -> None:
        source, state = runner.source, runner.state
        try:
            s3 = await self._client(runner)
            result = await self._sync.sync_dags(
                source.environment_id, source.bucket, source.prefix, s3, lambda: self._is_written_to(source)
            )
        except AerodromeError as error:
            if runner.source != source:
                return  # it was changed meanwhile: what is known is of the new one
            if isinstance(error, StaleCredentials):
                self._credentials.forget(source.role_arn, session_name(source.environment_id))
                runner.replace_client(None)
            if str(error) != str(state.error):
                log.warning("environment %s: %s", source.environment_id, error)
            runner.state = replace(state, error=error, failures=state.failures + 1)
            return
        if runner.source != source:
            return
        if state.result is None or result.version != state.result.version:
            log.info("environment %s: %d files from %s", source.environment_id, result.files, source.bucket)
            for warning in result.warnings:
                log.warning("environment %s: bucket %s: %s", source.environment_id, source.bucket, warning)
        runner.state = SyncState(last_success=self._now(), result=result)

    async def _client(self, runner: _Runner) -> S3:
        source = runner.source
        credentials = await self._credentials.get(
            source.role_arn, session_name(source.environment_id), source_arn=source.environment_arn
        )
        if runner.client is None or runner.client[0] is not credentials:
            made = await asyncio.to_thread(self._client_factory, credentials, source.region)
            runner.replace_client((credentials, made))
            return made
        return runner.client[1]


def _report_death(runner: _Runner) -> None:
    """A look that ended in an error nobody foresaw is a defect: say so, and go on looking."""
    if runner.task is None or runner.task.cancelled():
        return
    error = runner.task.exception()
    log.error("environment %s: the look at its bucket broke", runner.source.environment_id, exc_info=error)
    failure = Temporary(f"The look at bucket {runner.source.bucket} broke: {error!r}")
    runner.state = replace(runner.state, error=failure, failures=runner.state.failures + 1)


def _cancel(runner: _Runner) -> list[asyncio.Task[None]]:
    tasks = [task for task in (runner.task, runner.look) if task]
    for task in tasks:
        task.cancel()
    return tasks


def session_name(environment_id: str) -> str:
    """The role session's name for everything that is done for an environment; MWAA's own begins the same way."""
    return f"AmazonMWAA-{environment_id}"

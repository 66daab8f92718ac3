from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aerodrome.errors import Temporary
from aerodrome.reconcile.loop import Loop


class Recorder:
    def __init__(self, answers: dict[str, list[object]]) -> None:
        self.answers = answers
        self.calls: list[str] = []
        self.running = 0
        self.most = 0
        self.changed = asyncio.Event()

    async def __call__(self, environment_id: str) -> float | None:
        self.calls.append(environment_id)
        self.running += 1
        self.most = max(self.most, self.running)
        self.changed.set()
        try:
            await asyncio.sleep(0.01)
            answers = self.answers.get(environment_id, [])
            answer = answers.pop(0) if answers else None
            if isinstance(answer, Exception):
                raise answer
            return answer  # type: ignore[return-value]
        finally:
            self.running -= 1

    async def until(self, environment_id: str, times: int) -> None:
        async with asyncio.timeout(10):
            while self.calls.count(environment_id) < times:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def running(recorder: Recorder, ids: list[str], **options: float) -> AsyncIterator[Loop]:
    async def listed() -> list[str]:
        return ids

    loop = Loop(recorder, listed, scan_interval=options.get("scan_interval", 60), concurrency=2)
    task = asyncio.create_task(loop.run())
    try:
        yield loop
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_everything_listed_is_looked_at_once_and_then_left_alone() -> None:
    recorder = Recorder({})
    async with running(recorder, ["a", "b", "c"]):
        await recorder.until("c", 1)
        await asyncio.sleep(0.1)
    assert sorted(recorder.calls) == ["a", "b", "c"]
    assert recorder.most == 2


async def test_it_comes_back_when_asked_to() -> None:
    recorder = Recorder({"a": [0.01, 0.01, None]})
    async with running(recorder, ["a"]):
        await recorder.until("a", 3)


async def test_a_poke_during_a_look_is_followed_by_another_look_never_a_second_at_once() -> None:
    recorder = Recorder({})
    async with running(recorder, ["a"]) as loop:
        await recorder.until("a", 1)
        for _ in range(5):
            loop.poke("a")
        await recorder.until("a", 2)
        await asyncio.sleep(0.1)
    assert recorder.calls == ["a", "a"]
    assert recorder.most == 1


async def test_failures_of_one_do_not_delay_another() -> None:
    recorder = Recorder({"bad": [Temporary("away", 0.01), RuntimeError("surprise"), None]})
    async with running(recorder, ["bad", "good"], scan_interval=0.05):
        await recorder.until("good", 5)
        await recorder.until("bad", 3)


async def test_the_scan_finds_what_nobody_poked_for() -> None:
    ids: list[str] = []
    recorder = Recorder({})
    async with running(recorder, ids, scan_interval=0.05):
        ids.append("late")
        await recorder.until("late", 1)


async def test_who_is_poked_all_the_time_keeps_nobody_waiting() -> None:
    recorder = Recorder({})
    async with running(recorder, ["a", "b", "c"]) as loop:
        ever = loop._reconcile

        async def poking(environment_id: str) -> float | None:
            if environment_id != "c":
                loop.poke(environment_id)
            return await ever(environment_id)

        loop._reconcile = poking
        loop.poke("a")
        loop.poke("b")
        await recorder.until("c", 1)

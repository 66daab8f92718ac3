"""Work that outlasts a pass: begun once, told once, ended when its owner goes."""

from __future__ import annotations

import asyncio
import threading

import pytest

from aerodrome.errors import Permanent, Temporary
from aerodrome.reconcile.ports import Made, Making
from aerodrome.server import errands as module
from aerodrome.server.errands import Errands, Progress
from aerodrome.threads import to_its_end

MADE = Made({"tree": "t"})


async def test_it_is_begun_once_and_told_once() -> None:
    errands, gate, begun = Errands(), asyncio.Event(), list[str]()

    async def work(progress: Progress) -> Made:
        begun.append("once")
        with progress.phase("wait", "Waiting at the gate"):
            await gate.wait()
        return MADE

    assert await errands.ask("a", "x", work) == Making("Waiting at the gate")
    assert await errands.ask("a", "x", work) == Making("Waiting at the gate")
    assert errands.runs("a", "x")
    assert errands.is_busy("a")
    assert not errands.is_busy("b")
    gate.set()
    await asyncio.sleep(0.01)
    found = await errands.ask("a", "x", work)
    assert found is MADE
    assert begun == ["once"]
    assert not errands.runs("a", "x")


async def test_what_is_done_at_once_takes_one_look_and_a_failure_is_raised_and_tried_again() -> None:
    errands, failures = Errands(), [Permanent("no"), Temporary("not now")]

    async def work(progress: Progress) -> Made:
        if failures:
            raise failures.pop(0)
        return MADE

    with pytest.raises(Permanent, match="no"):
        await errands.ask("a", "x", work)
    with pytest.raises(Temporary, match="not now"):
        await errands.ask("a", "x", work)
    assert await errands.ask("a", "x", work) is MADE


async def test_what_nobody_asks_after_any_more_keeps_nobody_busy() -> None:
    errands, gate = Errands(), asyncio.Event()

    async def work(progress: Progress) -> Made:
        await gate.wait()
        raise Permanent("nobody hears this")

    await errands.ask("a", "x", work)
    assert errands.is_busy("a")
    gate.set()
    await asyncio.sleep(0.01)
    assert not errands.is_busy("a")
    assert not errands.runs("a", "x")


async def test_an_owner_that_goes_waits_for_what_cannot_be_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    errands, gate, wrote = Errands(), threading.Event(), list[str]()

    def write() -> None:
        gate.wait(30)
        wrote.append("to its end")

    async def work(progress: Progress) -> Made:
        with progress.phase("write", "Writing"):
            await to_its_end(write)
        return MADE

    other = asyncio.Event()

    async def quiet(progress: Progress) -> Made:
        await other.wait()
        return MADE

    await errands.ask("a", "x", work)
    await errands.ask("b", "x", quiet)
    for _ in range(2):  # asked again, it is still waited for
        with pytest.raises(Temporary, match="Writing"):
            await errands.stop("a")
    assert wrote == []
    gate.set()
    monkeypatch.setattr(module, "_PATIENCE", 30)
    await errands.stop("a")
    assert wrote == ["to its end"]
    assert errands.is_busy("b")
    await errands.close()
    assert not errands.is_busy("b")

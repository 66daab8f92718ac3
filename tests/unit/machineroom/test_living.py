"""Whether an installation is gone, or only away until its guard has brought it back."""

from __future__ import annotations

from pathlib import Path

import pytest

from aerodrome.layout import Layout
from aerodrome.machineroom import living
from aerodrome.supervision.files import Files


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.run.mkdir()
    return layout


def looks(monkeypatch: pytest.MonkeyPatch, *answers: frozenset[str] | None) -> list[frozenset[str] | None]:
    """What is found at each look; the rest is returned."""
    left = list(answers)

    async def look(_: Layout) -> frozenset[str] | None:
        return left.pop(0)

    monkeypatch.setattr(living, "living_programs", look)
    monkeypatch.setattr(living, "_LOOK", 0.0)
    return left


async def test_a_stop_in_order_is_the_end(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    looks(monkeypatch, None)
    assert not await living.lasts(layout)


async def test_after_a_kill_it_is_waited_for(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    Files.of(layout).pid.write_text("1")
    left = looks(monkeypatch, None, None, frozenset({"server"}))
    assert await living.lasts(layout)
    assert left == []


async def test_but_not_for_ever(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    Files.of(layout).pid.write_text("1")
    monkeypatch.setattr(living, "_COMEBACK", 0.0)
    looks(monkeypatch, None, None)
    assert not await living.lasts(layout)

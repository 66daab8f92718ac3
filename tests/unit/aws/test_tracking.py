"""What a request touched."""

from __future__ import annotations

import contextvars
import copy
from collections.abc import Callable

import pytest

from aerodrome.aws.shim import tracking
from aerodrome.aws.shim.tracking import Touch, Tracked


def touched(act: Callable[[Tracked], object], touch: Touch | None) -> set[object]:
    """The keys noted while `act` runs with `touch` as the current request, late ones included."""
    tracking.late.take()
    table = Tracked("t", {"a": {"n": 1}, "b": {"n": 2}}.items())

    def run() -> None:
        tracking.current.set(touch)
        act(table)

    contextvars.copy_context().run(run)
    entries = (touch.entries if touch else set()) | tracking.late.take()
    assert all(name == "t" for name, _ in entries)
    return {key for _, key in entries}


READS: list[Callable[[Tracked], object]] = [lambda t: t["a"], lambda t: t.get("a"), lambda t: t.get("a", None)]
WRITES: list[Callable[[Tracked], object]] = [
    lambda t: t.__setitem__("a", 1),
    lambda t: t.__delitem__("a"),
    lambda t: t.pop("a"),
    lambda t: t.pop("a", None),
    lambda t: t.setdefault("a", 1),
    lambda t: t.update({"a": 1}),
    lambda t: t.update(a=1),
]


@pytest.mark.parametrize("act", READS + WRITES)
def test_a_changing_request_notes_reads_and_writes(act: Callable[[Tracked], object]) -> None:
    assert touched(act, Touch()) == {"a"}


@pytest.mark.parametrize("act", READS)
def test_reads_outside_a_request_are_not_noted(act: Callable[[Tracked], object]) -> None:
    assert touched(act, None) == set()


@pytest.mark.parametrize("act", WRITES)
def test_writes_outside_a_request_are(act: Callable[[Tracked], object]) -> None:
    assert touched(act, None) == {"a"}


@pytest.mark.parametrize("act", READS + WRITES)
def test_what_comes_after_the_answer_is_late(act: Callable[[Tracked], object]) -> None:
    touch = Touch()
    touch.closed = True
    assert touched(act, touch) == {"a"}
    assert touch.entries == set()


def test_clear_and_popitem() -> None:
    assert touched(lambda t: t.clear(), Touch()) == {"a", "b"}
    assert touched(lambda t: t.popitem(), Touch()) == {"b"}


def test_a_table_is_never_copied_as_a_whole() -> None:
    with pytest.raises(TypeError):
        copy.deepcopy(Tracked("t"))

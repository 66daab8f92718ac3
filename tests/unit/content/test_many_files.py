"""Ten thousand files: all of them arrive, and afterwards a change costs what changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from aerodrome.content import s3 as content_s3
from aerodrome.content.sync import SyncResult
from aerodrome.errors import Permanent
from support.fake_s3 import FakeS3

MANY = 10_000


def test_one_of_ten_thousand(look: Callable[[], SyncResult], s3: FakeS3, dags: Path) -> None:
    for number in range(MANY):
        s3.put(f"dags/{number % 100:02}/{number:05}.py", str(number))
    first = look()
    assert (first.files, first.changed) == (MANY, MANY)
    assert sum(len(names) for _, _, names in os.walk(dags)) == MANY
    assert s3.calls == {"list": 20, "get": MANY}, "ten pages, and ten that confirm them"

    s3.calls.clear()
    assert look().version == first.version
    assert s3.calls == {"list": 10}

    s3.put("dags/42/00042.py", "changed")
    s3.remove("dags/43/00043.py")
    s3.calls.clear()
    second = look()
    assert (second.files, second.changed, second.removed) == (MANY - 1, 1, 1)
    assert s3.calls == {"list": 20, "get": 1}
    assert (dags / "42/00042.py").read_text() == "changed"
    assert not (dags / "43/00043.py").exists()


def test_a_bucket_that_is_no_dag_folder_is_refused_before_it_fills_our_memory(
    look: Callable[[], SyncResult], s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_s3, "MAX_OBJECTS", 25)
    s3.page = 10
    for number in range(1000):
        s3.put(f"dags/{number:04}.csv", "")
    with pytest.raises(Permanent, match="name that in DagS3Path"):
        look()
    assert s3.calls == {"list": 3}
    s3.remove(*(f"dags/{number:04}.csv" for number in range(25, 1000)))
    assert look().files == 25

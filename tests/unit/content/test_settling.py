"""A parser never sees half of an upload, whatever happens to the bucket while it is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aerodrome.content import folder
from aerodrome.content.folder import VersionedFolder
from aerodrome.content.sync import SyncResult
from aerodrome.errors import Permanent
from support.fake_s3 import FakeS3

if TYPE_CHECKING:
    from conftest import Clock

Look = Callable[[], SyncResult]


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What was in place after each exchange."""
    seen: list[dict[str, str]] = []
    put_in_place = folder.put_in_place

    def watched(new: Path, place: Path) -> bool:
        exchanged = put_in_place(new, place)
        seen.append(tree(place))
        return exchanged

    monkeypatch.setattr(folder, "put_in_place", watched)
    return seen


def test_files_that_come_one_after_the_other_are_put_in_place_together(
    look: Look, s3: FakeS3, clock: Clock, versions: list[dict[str, str]]
) -> None:
    s3.put("dags/old.py", "old")
    look()
    coming = iter("bcd")

    def another() -> None:
        if (name := next(coming, None)) is not None:
            s3.put(f"dags/{name}.py", name)

    s3.put("dags/a.py", "a")
    clock.during = another
    result = look()
    whole = {"old.py": "old", "a.py": "a", "b.py": "b", "c.py": "c", "d.py": "d"}
    assert versions == [{"old.py": "old"}, whole]
    assert (result.changed, result.warnings) == (4, ())
    assert clock.slept == [1.0] * 4


def test_an_upload_that_never_pauses_is_taken_as_it_is_after_a_while(look: Look, s3: FakeS3, clock: Clock) -> None:
    look()
    s3.put("dags/a.py", "0")
    clock.during = lambda: s3.put("dags/a.py", str(clock.now))
    result = look()
    assert clock.now == pytest.approx(31.0)
    assert result.warnings == ("uploads or changes without a pause for 30 s: taken as it was then",)
    assert result.changed == 1


def test_the_first_version_waits_for_nothing_but_is_confirmed(look: Look, s3: FakeS3, clock: Clock) -> None:
    s3.put("dags/a.py", "a")
    look()
    assert clock.slept == []
    assert s3.calls["list"] == 2


def test_an_unchanged_folder_costs_one_listing(look: Look, s3: FakeS3, clock: Clock) -> None:
    s3.put("dags/a.py", "a")
    look()
    s3.calls.clear()
    assert look().changed == 0
    assert s3.calls == {"list": 1}
    assert clock.slept == []


def test_a_large_folder_is_rested_from_for_longer(look: Look, s3: FakeS3, clock: Clock) -> None:
    look()
    s3.put("dags/a.py", "a")

    def slow(_: int) -> None:
        clock.now += 4.0

    s3.on_list = slow
    look()
    assert clock.slept == [8.0]


@pytest.mark.parametrize("started", [False, True])
def test_an_object_that_changes_while_it_is_read(
    look: Look, s3: FakeS3, versions: list[dict[str, str]], started: bool
) -> None:
    """One that changes after the listing, or after it was read while others still are."""
    if started:
        look()
    for name in "abc":
        s3.put(f"dags/{name}.py", "one")

    def change(key: str) -> None:
        s3.on_get = lambda _: None
        for name in "abc":
            s3.put(f"dags/{name}.py", "two")

    s3.on_get = change
    look()
    assert versions[-1] == {"a.py": "two", "b.py": "two", "c.py": "two"}
    assert len(versions) == 1 + started


def test_an_object_that_vanishes_while_it_is_read(look: Look, s3: FakeS3, dags: Path) -> None:
    s3.put("dags/a.py", "a")
    s3.put("dags/gone.py", "gone")
    s3.on_get = lambda key: s3.remove("dags/gone.py") if key.endswith("gone.py") else None
    result = look()
    assert tree(dags) == {"a.py": "a"}
    assert result.warnings == ()


def test_an_object_that_vanishes_after_it_was_read(look: Look, s3: FakeS3, clock: Clock, dags: Path) -> None:
    look()
    s3.put("dags/deep/er/gone.py", "gone")
    s3.put("dags/a.py", "a")
    clock.during = lambda: s3.remove("dags/deep/er/gone.py") if len(clock.slept) == 1 else None
    look()
    assert tree(dags) == {"a.py": "a"}
    assert not (dags / "deep").exists()


def test_objects_that_come_and_go_between_two_pages(look: Look, s3: FakeS3, dags: Path) -> None:
    s3.page = 2
    for name in "abcdef":
        s3.put(f"dags/{name}.py", name)

    def shuffle(page: int) -> None:
        if page == 2:
            s3.remove("dags/a.py", "dags/e.py")
            s3.put("dags/b.py", "new")
            s3.put("dags/aa.py", "new")

    s3.on_list = shuffle
    look()
    assert tree(dags) == {"aa.py": "new", "b.py": "new", "c.py": "c", "d.py": "d", "f.py": "f"}


@pytest.mark.parametrize(("before", "after"), [("dags/x", "dags/x/y.py"), ("dags/x/y.py", "dags/x")])
@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_file_becomes_a_directory_and_the_other_way_round(
    look: Look, s3: FakeS3, clock: Clock, dags: Path, before: str, after: str, meanwhile: bool
) -> None:
    look()

    def turn() -> None:
        clock.during = lambda: None
        s3.remove(before)
        s3.put(after, "after")

    s3.put(before, "before")
    if meanwhile:
        clock.during = turn
        look()
    else:
        look()
        turn()
        look()
    assert tree(dags) == {after.removeprefix("dags/"): "after"}


def test_a_change_that_is_taken_back_puts_nothing_in_place(
    look: Look, s3: FakeS3, clock: Clock, versions: list[dict[str, str]], dags: Path
) -> None:
    s3.put("dags/a.py", "a")
    look()
    inode = dags.stat().st_ino
    s3.put("dags/b.py", "b")
    clock.during = lambda: s3.remove("dags/b.py")
    assert look().changed == 0
    assert dags.stat().st_ino == inode
    assert len(versions) == 1


def test_everything_is_removed_at_once(look: Look, s3: FakeS3, dags: Path) -> None:
    for name in "abc":
        s3.put(f"dags/{name}.py", name)
    look()
    s3.remove()
    assert look().removed == 3
    assert tree(dags) == {}


def test_what_cannot_be_read_keeps_its_old_copy_and_is_asked_for_again_each_time(
    look: Look, s3: FakeS3, clock: Clock, dags: Path
) -> None:
    s3.put("dags/a.py", "one")
    s3.put("dags/closed.py", "one")
    look()
    s3.put("dags/closed.py", "two")
    s3.put("dags/new.py", "closed")
    s3.unreadable = {"dags/closed.py", "dags/new.py"}
    first = look()
    assert tree(dags) == {"a.py": "one", "closed.py": "one"}
    assert sorted(first.warnings) == [
        f"skipped 'dags/{name}.py': S3 answered AccessDenied" for name in ("closed", "new")
    ]
    assert clock.slept == [], "nothing changed, so nothing is waited for"
    s3.put("dags/a.py", "two")
    look()
    assert tree(dags) == {"a.py": "two", "closed.py": "one"}
    s3.unreadable = set()
    look()
    assert tree(dags) == {"a.py": "two", "closed.py": "two", "new.py": "closed"}


def test_a_role_that_may_read_nothing_is_told_so(look: Look, s3: FakeS3) -> None:
    s3.put("dags/a.py", "a")
    s3.unreadable = {"dags/a.py"}
    with pytest.raises(Permanent, match="allow s3:GetObject"):
        look()


def test_a_file_lost_here_is_fetched_again_if_it_can_be(look: Look, s3: FakeS3, dags: Path) -> None:
    for name in ("a", "lost", "closed"):
        s3.put(f"dags/{name}.py", name)
    look()
    (dags / "lost.py").unlink()
    (dags / "closed.py").unlink()
    s3.unreadable = {"dags/closed.py"}
    s3.put("dags/a.py", "two")
    look()
    assert tree(dags) == {"a.py": "two", "lost.py": "lost"}
    s3.unreadable = set()
    look()
    assert tree(dags) == {"a.py": "two", "lost.py": "lost", "closed.py": "closed"}


def test_changed_files_are_younger_than_the_exchange(
    look: Look, s3: FakeS3, dags: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was parsed a moment before it was the old file; Airflow looks again at what is younger than its parse."""
    s3.put("dags/a.py", "one")
    s3.put("dags/kept.py", "one")
    look()
    kept = (dags / "kept.py").stat().st_mtime_ns
    put_in_place = folder.put_in_place

    def late(new: Path, place: Path) -> bool:
        for path in new.iterdir():
            if path.name != "kept.py":
                os.utime(path, (1, 1))
        return put_in_place(new, place)

    monkeypatch.setattr(folder, "put_in_place", late)
    s3.put("dags/a.py", "two")
    look()
    assert (dags / "a.py").stat().st_mtime_ns > kept
    assert (dags / "kept.py").stat().st_mtime_ns == kept


def test_a_kill_between_exchange_and_dating_leaves_a_whole_version(
    look: Look, s3: FakeS3, dags: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put("dags/a.py", "one")
    look()
    put_in_place = folder.put_in_place

    def killed(new: Path, place: Path) -> bool:
        put_in_place(new, place)
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "put_in_place", killed)
    s3.put("dags/a.py", "two")
    with pytest.raises(KeyboardInterrupt):
        look()
    monkeypatch.setattr(folder, "put_in_place", put_in_place)
    assert tree(dags) == {"a.py": "two"}
    assert VersionedFolder(dags).current() is not None
    s3.put("dags/a.py", "three")
    look()
    assert tree(dags) == {"a.py": "three"}
    assert [path for path in (dags.parent / ".versions").iterdir() if ".new" in path.name] == []

"""The kernel tells of an exchange of folders, and of nothing else that we would have to look at."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerodrome import files
from aerodrome_airflow.folder_watch import FolderWatch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "content" / "dags"
    place.mkdir(parents=True)
    return place


@pytest.fixture
def watch(folder: Path) -> Iterator[FolderWatch]:
    made = FolderWatch(folder)
    yield made
    made.close()


def is_readable(watch: FolderWatch) -> bool:
    return select.select([watch], [], [], 0)[0] == [watch]


def exchange(folder: Path) -> None:
    new = folder.parent.parent / "new"
    new.mkdir(exist_ok=True)
    files.put_in_place(new, folder)


@pytest.mark.parametrize("supported", [True, False])
def test_each_exchange_is_told_of_once(
    folder: Path, watch: FolderWatch, monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    if not supported:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    assert not is_readable(watch)
    assert not watch.exchanged()
    for _ in range(2):  # the folder is another one by then
        exchange(folder)
        exchange(folder)
        assert is_readable(watch)
        assert watch.exchanged()
        assert not is_readable(watch)
        assert not watch.exchanged()


def test_the_first_folder_is_told_of(folder: Path, watch: FolderWatch) -> None:
    folder.rmdir()
    exchange(folder)
    assert watch.exchanged()


def test_what_else_moves_is_not_the_folder(folder: Path, watch: FolderWatch) -> None:
    (folder.parent / "plugins").mkdir()
    exchange(folder.parent / "plugins")
    (folder.parent / "other.py").write_text("")
    (folder / "inside.py").write_text("")
    assert not watch.exchanged()


def test_more_exchanges_than_the_kernel_counts(folder: Path, watch: FolderWatch) -> None:
    names = [folder.parent / name for name in ("one", "two")]
    names[0].mkdir()
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(most + 2):
        names[number % 2].rename(names[1 - number % 2])
    exchange(folder)  # is not counted any more
    assert watch.exchanged()


def test_a_place_that_is_not_there_is_an_os_error_and_leaves_nothing_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        FolderWatch(tmp_path / "missing" / "dags")
    assert len(os.listdir("/proc/self/fd")) == before

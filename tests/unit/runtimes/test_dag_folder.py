"""What is taught to Airflow's DAG processors, on classes with the members that it uses.

With the real ones: tests/integration/runtimes/test_dag_folder.py.
"""

from __future__ import annotations

import os
import selectors
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

from aerodrome import files
from aerodrome_airflow import dag_folder

NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "content" / "dags"
    place.mkdir(parents=True)
    settings = ModuleType("airflow.settings")
    settings.DAGS_FOLDER = str(place)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow", ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.settings", settings)
    return place


def exchange(folder: Path) -> None:
    new = folder.parent.parent / "new"
    new.mkdir(exist_ok=True)
    files.put_in_place(new, folder)


class Stat(NamedTuple):
    last_finish_time: datetime | None


@dataclass
class ThreesStat:
    last_finish_time: datetime | None


def three() -> type[Any]:
    """As Airflow 3's manager: one selector for everything, files are objects, stats can be written to."""

    class Manager:
        def __init__(self, *bundles: Any) -> None:
            self.selector: Any = None
            self._dag_bundles = bundles
            self._file_stats: dict[str, ThreesStat] = {}
            self._processors: dict[str, Any] = {}
            self.queue: list[str] = []
            self.refreshed: list[str] = []
            self.result: ThreesStat | None = ThreesStat(datetime.now(UTC))

        def prepare_process_context(self) -> None:
            self.selector = selectors.DefaultSelector()

        def request_bundle_refresh(self, names: Any) -> None:
            self.refreshed += names

        def handle_parsing_result(self, file: str, proc: Any) -> None:
            if self.result is not None:
                self._file_stats[file] = self.result

        def _add_new_files_to_queue(self, known_files: dict[str, set[str]]) -> None:
            self.queue.insert(0, "new")

        def _add_files_to_queue(self, found: list[str], *, mode: str) -> None:
            assert mode == "frontprio"
            self.queue[:0] = found

        def _sort_by_mtime(self, found: list[str]) -> tuple[list[str], set[str]]:
            return found, {file for file in found if "changed" in file}

        def wait(self) -> None:
            """As Airflow's `_service_processor_sockets`."""
            for key, _ in self.selector.select(0):
                handler, on_close = key.data
                if not handler(key.fileobj):
                    on_close(key.fileobj)

    return Manager


def two() -> type[Any]:
    """As Airflow 2's manager: processors by what is waited for, files are paths, stats are tuples."""

    class Manager:
        def __init__(self, directory: Path) -> None:
            self._dag_directory = str(directory)
            self.waitables: dict[Any, Any] = {}
            self.last_dag_dir_refresh_time = NOW
            self.file_paths: list[str] = []
            self._file_path_queue: deque[str] = deque()
            self._file_stats: dict[str, Stat] = {}
            self.collected = 0

        def _run_parsing_loop(self) -> None:
            return

        def get_last_finish_time(self, path: str) -> datetime | None:
            stat = self._file_stats.get(path)
            return stat.last_finish_time if stat else None

        def _refresh_dag_dir(self) -> bool:
            if self.last_dag_dir_refresh_time == NOW:
                return False
            self.last_dag_dir_refresh_time = NOW
            return True

        def _collect_results_from_processor(self, processor: Any) -> None:
            self._file_stats[processor.file_path] = Stat(datetime.now(UTC))

        def collect_results(self) -> None:
            for each in wait(self.waitables.keys(), 0):
                self.collected += bool(self.waitables[each].file_path)

    return Manager


@pytest.fixture
def second(folder: Path) -> Iterator[Any]:
    manager = two()
    assert dag_folder.patch(manager)
    made = manager(folder)
    made._run_parsing_loop()
    yield made
    for each in made.waitables:
        each.close()


@pytest.fixture
def third(folder: Path) -> Iterator[Any]:
    manager = three()
    assert dag_folder.patch(manager)
    bundles = [("dags-folder", folder), ("below", folder / "team"), ("elsewhere", folder.parent)]
    made = manager(*(SimpleNamespace(name=name, path=path) for name, path in bundles))
    made.prepare_process_context()
    yield made
    for key in list(made.selector.get_map().values()):
        key.fileobj.close()
    made.selector.close()


def test_an_exchange_ends_the_wait_and_the_bundles_of_the_folder_are_refreshed(third: Any, folder: Path) -> None:
    third.wait()
    assert third.refreshed == []
    exchange(folder)
    third.wait()
    assert third.refreshed == ["dags-folder", "below"]
    third.wait()
    assert third.refreshed == ["dags-folder", "below"], "once"
    exchange(folder)
    third.wait()
    assert len(third.refreshed) == 4, "it goes on watching"


def test_changed_files_come_first_unless_they_are_being_parsed(third: Any) -> None:
    third.queue = ["waiting"]
    third._processors = {"changed-now": object()}
    third._add_new_files_to_queue({"dags-folder": {"changed", "changed-now", "same"}})
    assert third.queue == ["changed", "new", "waiting"]


@pytest.mark.parametrize("outcome", ["parsed", "callbacks only", "nothing"])
def test_a_parse_of_airflow_3_counts_from_its_beginning(third: Any, outcome: str) -> None:
    if outcome == "callbacks only":
        third.result = ThreesStat(None)
    elif outcome == "nothing":
        third.result = None
    third.handle_parsing_result("a.py", SimpleNamespace(start_time=time.monotonic() - 60))
    found = third._file_stats.get("a.py")
    if outcome == "parsed":
        assert timedelta(seconds=59) < datetime.now(UTC) - found.last_finish_time < timedelta(seconds=120)
    else:
        assert found == third.result


def test_an_exchange_ends_the_wait_and_the_folder_is_listed(second: Any, folder: Path) -> None:
    assert wait(second.waitables.keys(), 0) == []
    assert not second._refresh_dag_dir()
    exchange(folder)
    ready = wait(second.waitables.keys(), 20)
    assert [second.waitables[each] for each in ready] == [None], "nothing that the loop would take for a processor"
    assert second._refresh_dag_dir()
    assert wait(second.waitables.keys(), 0) == []
    assert not second._refresh_dag_dir()


def test_only_processors_are_collected(second: Any, folder: Path) -> None:
    exchange(folder)
    second.collect_results()
    assert second.collected == 0
    assert len(second.waitables) == 1, "it goes on watching"


def test_changed_files_come_to_the_front_of_a_queue(second: Any, folder: Path) -> None:
    paths = {name: str(folder / f"{name}.py") for name in ("same", "changed", "queued", "unparsed", "gone")}
    for name, path in paths.items():
        if name != "gone":
            Path(path).touch()
        if name != "unparsed":
            second._file_stats[path] = Stat(NOW)
    os.utime(paths["same"], (0, 0))
    os.utime(paths["queued"], (0, 0))
    os.utime(paths["changed"], (NOW.timestamp() + 5, NOW.timestamp() + 5))
    second.file_paths = [*paths.values()]
    second._file_path_queue = deque([paths["queued"], paths["unparsed"]])
    second.last_dag_dir_refresh_time = NOW - timedelta(hours=1)
    assert second._refresh_dag_dir()
    assert list(second._file_path_queue) == [paths["changed"], paths["queued"], paths["unparsed"]]


def test_an_empty_queue_is_airflows_own_to_fill(second: Any, folder: Path) -> None:
    exchange(folder)
    assert second._refresh_dag_dir()
    assert not second._file_path_queue


def test_a_parse_of_airflow_2_counts_from_its_beginning(second: Any) -> None:
    second._collect_results_from_processor(SimpleNamespace(file_path="a.py", start_time=NOW))
    assert second._file_stats == {"a.py": Stat(NOW)}


@pytest.mark.parametrize("major", [2, 3])
def test_what_cannot_be_watched_is_looked_at_at_intervals(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, major: int
) -> None:
    def refuse(_: Path) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(dag_folder, "FolderWatch", refuse)
    manager = two() if major == 2 else three()
    assert dag_folder.patch(manager)
    if major == 2:
        made = manager(folder)
        made._run_parsing_loop()
        made.collect_results()
        assert made.waitables == {}
        assert not made._refresh_dag_dir()
    else:
        made = manager()
        made.prepare_process_context()
        assert not made.selector.get_map()
        made.selector.close()
    assert "can't be watched" in caplog.text


def test_a_manager_unlike_those_we_know_is_left_alone() -> None:
    manager = two()
    del manager.collect_results
    before = dict(vars(manager))
    assert not dag_folder.patch(manager)
    assert dict(vars(manager)) == before

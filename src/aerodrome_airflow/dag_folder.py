"""The DAG processor looks at its folder when the folder was exchanged, not when the next look is due.

Airflow lists the folder at intervals, and short ones cost processor time all day: each listing reads every file. Here
the kernel ends the processor's wait; it then lists at once, with what Airflow itself has for that (3: a refresh that is
asked for; 2: the time of the last listing), and takes what changed first. At its intervals it goes on listing as ever.

One more thing is put right. Airflow parses a file again if that is younger than the *end* of its last parse: what
changes while the old content is being parsed goes unnoticed for `min_file_process_interval`. Here it is the beginning.
"""

from __future__ import annotations

import logging
import os
import selectors
import time
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aerodrome_airflow.folder_watch import FolderWatch

log = logging.getLogger(__name__)

_LONG_AGO = datetime.fromtimestamp(0, UTC)
_THREE = (
    "prepare_process_context",
    "request_bundle_refresh",
    "handle_parsing_result",
    "_add_new_files_to_queue",
    "_add_files_to_queue",
    "_sort_by_mtime",
)
_TWO = ("_run_parsing_loop", "_refresh_dag_dir", "_collect_results_from_processor", "collect_results")


def install() -> None:
    """For the DAG processor that this process becomes; Airflow is imported by then."""
    from airflow.dag_processing.manager import DagFileProcessorManager

    patch(DagFileProcessorManager)


def patch(manager: Any) -> bool:
    """Teach Airflow's class. False, and nothing is changed: it is not as we know it."""
    for needed, teach in ((_THREE, _teach_three), (_TWO, _teach_two)):
        if all(hasattr(manager, name) for name in needed):
            teach(manager)
            return True
    log.warning("The DAG processor is not as expected: it looks for changed files at its intervals alone.")
    return False


def watch(folder: str | os.PathLike[str]) -> FolderWatch | None:
    """None, and a line in the log, when the system can't: then there are the intervals."""
    try:
        return FolderWatch(Path(folder))
    except OSError as error:
        log.warning("%s can't be watched (%s): it is looked at at intervals alone.", folder, error)
        return None


def _teach_three(manager: Any) -> None:
    prepare, add_new, handle = (
        getattr(manager, name)
        for name in ("prepare_process_context", "_add_new_files_to_queue", "handle_parsing_result")
    )

    def prepare_and_watch(self: Any) -> None:
        from airflow.settings import DAGS_FOLDER

        prepare(self)
        folder = watch(DAGS_FOLDER)
        if folder is not None:
            self.selector.register(folder, selectors.EVENT_READ, (lambda _: ask_for_refresh(self, folder), _nothing))

    def add_new_and_changed(self: Any, known_files: dict[str, set[Any]]) -> None:
        add_new(self, known_files)
        _, changed = self._sort_by_mtime([file for files in known_files.values() for file in files])
        self._add_files_to_queue([file for file in changed if file not in self._processors], mode="frontprio")

    def handle_and_date(self: Any, file: Any, proc: Any, **options: Any) -> None:
        began = datetime.now(UTC) - timedelta(seconds=time.monotonic() - proc.start_time)
        handle(self, file, proc, **options)
        stat = self._file_stats.get(file)
        if stat is not None and stat.last_finish_time is not None:
            stat.last_finish_time = began

    manager.prepare_process_context = prepare_and_watch
    manager._add_new_files_to_queue = add_new_and_changed
    manager.handle_parsing_result = handle_and_date


def ask_for_refresh(manager: Any, folder: FolderWatch) -> bool:
    """Called from Airflow 3's own wait. True: it goes on waiting for this too."""
    if folder.exchanged():
        manager.request_bundle_refresh(
            bundle.name for bundle in manager._dag_bundles if Path(bundle.path).is_relative_to(folder.folder)
        )
    return True


def _nothing(_: object) -> None:
    """When Airflow 3 stops waiting for something of its own, it wants to do more than we do."""


def _teach_two(manager: Any) -> None:
    run, refresh, collect_one, collect = (getattr(manager, name) for name in _TWO)
    folders: dict[int, FolderWatch] = {}  # of each manager; in practice there is one

    def run_and_watch(self: Any) -> Any:
        folder = watch(self._dag_directory)
        if folder is not None:
            folders[id(self)] = folder
            self.waitables[folder] = None
        return run(self)

    def refresh_if_exchanged(self: Any) -> bool:
        folder = folders.get(id(self))
        if folder is not None and folder.exchanged():
            self.last_dag_dir_refresh_time = _LONG_AGO
        refreshed: bool = refresh(self)
        if refreshed and self._file_path_queue:
            changed = [path for path in self.file_paths if _changed(path, self.get_last_finish_time(path))]
            self._file_path_queue = deque(_first(changed, self._file_path_queue))
        return refreshed

    def collect_and_date(self: Any, processor: Any) -> None:
        collect_one(self, processor)
        stat = self._file_stats[processor.file_path]
        self._file_stats[processor.file_path] = stat._replace(last_finish_time=processor.start_time)

    def collect_from_processors(self: Any) -> None:
        # What is waited for here must be a processor; the loop itself is more lenient.
        folder = folders.get(id(self))
        if folder is None:
            collect(self)
            return
        del self.waitables[folder]
        try:
            collect(self)
        finally:
            self.waitables[folder] = None

    manager._run_parsing_loop = run_and_watch
    manager._refresh_dag_dir = refresh_if_exchanged
    manager._collect_results_from_processor = collect_and_date
    manager.collect_results = collect_from_processors


def _changed(path: str, parsed: datetime | None) -> bool:
    """Whether the file is younger than the beginning of its last parse. New ones are Airflow's own to find."""
    try:
        return parsed is not None and os.path.getmtime(path) > parsed.timestamp()
    except OSError:
        return False


def _first(paths: Iterable[str], queue: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys([*paths, *queue])

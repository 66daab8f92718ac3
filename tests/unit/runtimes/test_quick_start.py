"""The shortcuts of a start that need no Airflow to be seen."""

from __future__ import annotations

import gc
import importlib
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from aerodrome_airflow import execution_api, lazy_routes, quick_start, quick_tasks

LOG_SERVER = "airflow.utils.serve_logs"


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    modules, thresholds, path = sys.modules.copy(), gc.get_threshold(), sys.path.copy()
    callbacks = gc.callbacks.copy()
    yield
    gc.callbacks[:] = callbacks
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    sys.modules.update(modules)
    gc.set_threshold(*thresholds)
    sys.path[:] = path


def airflow(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> None:
    """A package of that name, with modules of the given names and texts ("a__b": a/b.py)."""
    for name, text in {"__init__": "", **files}.items():
        path = folder / "airflow" / f"{name.replace('__', '/') if name != '__init__' else name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()


class TestGarbage:
    def test_is_looked_for_less_often_during_a_start(self) -> None:
        quick_start.rarer_garbage_collection()
        quick_start.rarer_garbage_collection()
        gc.collect()
        assert gc.get_threshold()[0] >= 10_000
        assert gc.isenabled()

    def test_and_as_usual_from_then_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        usual, callbacks = gc.get_threshold(), len(gc.callbacks)
        quick_start.rarer_garbage_collection()
        later = time.monotonic() + 61
        monkeypatch.setattr(quick_start.time, "monotonic", lambda: later)
        gc.collect()
        assert gc.get_threshold() == usual
        assert len(gc.callbacks) == callbacks

    def test_who_set_something_else_keeps_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        quick_start.rarer_garbage_collection()
        gc.set_threshold(5000, 5, 5)
        later = time.monotonic() + 61
        monkeypatch.setattr(quick_start.time, "monotonic", lambda: later)
        gc.collect()
        assert gc.get_threshold() == (5000, 5, 5)


class TestTheLogServer:
    def test_is_not_imported_by_who_shall_not_serve(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        airflow(tmp_path, monkeypatch, utils__serve_logs="raise AssertionError('imported')")
        quick_start.without_unused_imports(["scheduler", "--skip-serve-logs"])
        assert callable(importlib.import_module(LOG_SERVER).serve_logs)

    def test_serves_all_the_same_when_it_is_asked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        airflow(tmp_path, monkeypatch, utils__serve_logs="def serve_logs(port=None): return f'serves {port}'")
        quick_start.without_unused_imports(["scheduler", "--skip-serve-logs"])
        serve_logs = importlib.import_module(LOG_SERVER).serve_logs
        assert [serve_logs(port=7), serve_logs(port=8)] == ["serves 7", "serves 8"]

    def test_is_left_alone_where_it_is_wanted(self) -> None:
        quick_start.without_unused_imports(["scheduler"])
        assert LOG_SERVER not in sys.modules


class TestKubernetesAndAirflow2:
    EXCEPTIONS = """
try:
    from airflow.providers.cncf.kubernetes.pod_generator import PodMutationHookException
except ImportError:
    class PodMutationHookException(Exception): ...
"""

    def test_airflow_is_imported_without_the_provider(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        provider = "providers__cncf__kubernetes__pod_generator"
        files = {"exceptions": self.EXCEPTIONS, provider: "PodMutationHookException = 'the provider'"}
        airflow(tmp_path, monkeypatch, **files)
        (tmp_path / "airflow" / "__init__.py").write_text("from airflow import exceptions")
        quick_start.import_airflow()
        assert sys.modules["airflow.exceptions"].PodMutationHookException.__module__ == "airflow.exceptions"
        assert importlib.import_module("airflow.providers.cncf.kubernetes.pod_generator").__file__

    def test_who_else_asks_for_the_provider_meanwhile_gets_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        airflow(tmp_path, monkeypatch, providers__cncf__kubernetes__pod_generator="name = 'the provider'")
        (tmp_path / "airflow" / "exceptions.py").write_text(self.EXCEPTIONS)
        lines = "from airflow import exceptions\nfrom airflow.providers.cncf.kubernetes.pod_generator import name"
        (tmp_path / "airflow" / "__init__.py").write_text(lines)
        quick_start.import_airflow()
        assert sys.modules["airflow"].name == "the provider"

    def test_an_airflow_that_cannot_be_imported_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        airflow(tmp_path, monkeypatch)
        (tmp_path / "airflow" / "__init__.py").write_text("raise ValueError('a wrong option')")
        with pytest.raises(ValueError, match="a wrong option"):
            quick_start.import_airflow()
        assert all(getattr(finder, "__name__", "") != "_NotInTheMiddle" for finder in sys.meta_path)


@pytest.mark.parametrize("component", ["api-server", "dag-processor", "scheduler", "webserver"])
def test_every_component_starts_where_a_library_is_missing(component: str) -> None:
    """As FastAPI and Cadwyn are in Airflow 2, and here."""
    quick_start.prepare([component])
    assert lazy_routes.install() is False
    assert execution_api.install() is False


class TestCelery:
    def test_other_packages_commands_stay_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def entry_points(**wanted: str) -> tuple[metadata.EntryPoint, ...]:
            asked.append(wanted)
            found = metadata.EntryPoint("flower", "nowhere:flower", "celery.commands")
            return (found,) if wanted.get("group") == found.group else ()

        for name in [name for name in sys.modules if name.startswith("celery.bin")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(metadata, "entry_points", entry_points)
        quick_start.without_celery_plugins()
        assert metadata.entry_points is entry_points
        assert {"group": "celery.commands"} not in asked
        assert "flower" not in sys.modules["celery.bin.celery"].celery.commands
        assert "worker" in sys.modules["celery.bin.celery"].celery.commands

    def test_the_worker_prepares_before_it_starts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import celery
        from celery.signals import import_modules

        seen: list[object] = []
        monkeypatch.setattr(celery.Celery, "worker_main", lambda app, argv=None: seen.append(argv))
        monkeypatch.setattr(quick_tasks, "prepare", lambda: seen.append("prepared"))
        quick_tasks.install()
        monkeypatch.setattr(import_modules, "receivers", [])
        frozen = gc.get_freeze_count()
        celery.Celery("test", set_as_current=False).worker_main(["worker"])
        assert seen == ["prepared", ["worker"]]
        import_modules.send(sender=None)  # Celery does, before it forks
        try:
            assert gc.get_freeze_count() > frozen
        finally:
            gc.unfreeze()

    def test_what_one_major_has_not_is_no_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        imported = []

        def import_module(name: str) -> ModuleType:
            imported.append(name)
            raise ModuleNotFoundError(name)

        monkeypatch.setattr(importlib, "import_module", import_module)
        monkeypatch.setattr(quick_tasks, "map_models", lambda: imported.append("models"))
        quick_tasks.prepare()
        assert imported[-1] == "models"
        assert len(imported) > 3

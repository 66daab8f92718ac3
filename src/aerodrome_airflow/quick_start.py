"""Less work before a component of Airflow is up: what its imports do that the component never uses.

Each of these costs 0.1 to 1 s of processor time in every process that starts. All of them keep what Airflow does as it
is; what isn't as expected (another version) is left alone. Measured in docs/explanation/performance.md.
"""

from __future__ import annotations

import gc
import importlib
import sys
import time
from importlib import metadata
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from aerodrome_airflow import execution_api, lazy_routes

if TYPE_CHECKING:
    from _typeshed.importlib import MetaPathFinderProtocol

_YOUNG = 20_000  # new objects between two looks for garbage; Python's 700 makes an import of Airflow look 1,400 times
_RARELY = (_YOUNG, 10, 10)
_START = 60.0  # seconds
_LOG_SERVER = "airflow.utils.serve_logs"
_POD_GENERATOR = "airflow.providers.cncf.kubernetes.pod_generator"
_UNUSED = ("svcs.aiohttp", "svcs.flask", "svcs.pyramid")  # optional parts, for web frameworks that Airflow doesn't use


def prepare(arguments: list[str]) -> None:
    """Before Airflow is imported, for the process with that command line (of `airflow`)."""
    rarer_garbage_collection()
    without_unused_imports(arguments)
    if arguments[:1] in (["api-server"], ["dag-processor"]):
        lazy_routes.install()
        execution_api.install()


def rarer_garbage_collection() -> None:
    """Imports make objects that stay: looking through them for garbage is a fourth of a web server's start.

    A start's length later all is as usual again, in children too: what a task leaves behind may be large.
    """
    usual, began = gc.get_threshold(), time.monotonic()
    if usual[0] >= _YOUNG:
        return

    def as_usual(phase: str, info: dict[str, int]) -> None:
        if time.monotonic() - began > _START:
            gc.callbacks.remove(as_usual)
            if gc.get_threshold() == _RARELY:
                gc.set_threshold(*usual)

    gc.set_threshold(*_RARELY)
    gc.callbacks.append(as_usual)


def without_unused_imports(arguments: list[str]) -> None:
    """Leave out what the component with this command line would import and never use."""
    if "--skip-serve-logs" in arguments:
        _put_off_log_server()
    for name in _UNUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # an import of it is an ImportError, as if not installed


def _put_off_log_server() -> None:
    """The module that serves logs, a web application, is imported before Airflow asks whether it shall serve any."""
    stand_in = ModuleType(_LOG_SERVER)

    def serve_logs(*arguments: Any, **options: Any) -> Any:
        if sys.modules.get(_LOG_SERVER) is stand_in:
            del sys.modules[_LOG_SERVER]
        return importlib.import_module(_LOG_SERVER).serve_logs(*arguments, **options)

    stand_in.serve_logs = serve_logs  # type: ignore[attr-defined]
    sys.modules[_LOG_SERVER] = stand_in


class _NotInTheMiddle:
    """Of `sys.meta_path`: no provider of Kubernetes for `airflow.exceptions` while that is being imported itself."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == _POD_GENERATOR:
            spec = getattr(sys.modules.get("airflow.exceptions"), "__spec__", None)
            if getattr(spec, "_initializing", False):
                raise ModuleNotFoundError(f"No module named {name!r} yet", name=name)


def import_airflow() -> None:
    """Import Airflow, as it would import itself.

    For the sake of two exceptions, Airflow 2 has its Kubernetes provider imported in the middle of that, 70 MB, which
    fails (the provider needs what is still being imported) and leaves it with exceptions of its own. Here it fails
    at once.
    """
    finder = cast("MetaPathFinderProtocol", _NotInTheMiddle)
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module("airflow")
    finally:
        sys.meta_path.remove(finder)


def without_celery_plugins() -> None:
    """Import Celery's command line without the commands that other packages add to it: Flower is a web application."""
    stock = metadata.entry_points

    def entry_points(**wanted: Any) -> Any:
        return () if wanted == {"group": "celery.commands"} else stock(**wanted)

    metadata.entry_points = entry_points
    try:
        importlib.import_module("celery.bin.celery")
    finally:
        metadata.entry_points = stock

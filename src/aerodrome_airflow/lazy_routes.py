"""Routes of Airflow's web server are worked out when the first request for them comes, not at its start.

FastAPI works a route out, with the models of its parameters and answers, whenever a router is included into another:
Airflow nests its some 200 routes four deep, so its web server does it 800 times, and serves most routes never. Only
Airflow's own routes wait; those of a user's plugin are worked out at once, so that a mistake shows at the start.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any

_OWN = "airflow."  # what the modules of Airflow and its providers start with
_ARGUMENTS = frozenset(
    {
        "callbacks", "dependencies", "dependency_overrides_provider", "deprecated", "description", "endpoint",
        "generate_unique_id_function", "include_in_schema", "methods", "name", "openapi_extra", "operation_id", "path",
        "response_class", "response_description", "response_model", "response_model_by_alias",
        "response_model_exclude", "response_model_exclude_defaults", "response_model_exclude_none",
        "response_model_exclude_unset", "response_model_include", "responses", "self", "status_code",
        "strict_content_type", "summary", "tags",
    }
)  # fmt: skip
_working = threading.RLock()


def install() -> bool:
    """From now on. False, and nothing is changed: there is no FastAPI (Airflow 2), or it isn't one that we know."""
    try:
        from fastapi.routing import APIRoute
        from starlette.routing import compile_path, get_name
    except ImportError:
        return False

    stock: Callable[..., None] = APIRoute.__init__
    signature = inspect.signature(stock)
    if signature.parameters.keys() != _ARGUMENTS or hasattr(APIRoute, "__getattr__"):
        return False

    def start(self: Any, path: str, endpoint: Any, **options: Any) -> None:
        if not str(getattr(endpoint, "__module__", "")).startswith(_OWN):
            stock(self, path, endpoint, **options)
            return
        bound = signature.bind(self, path, endpoint, **options)
        bound.apply_defaults()
        plain = {name: value for name, value in bound.arguments.items() if name != "self"}
        plain["name"] = plain["name"] or get_name(endpoint)
        plain["tags"] = plain["tags"] or []
        plain["responses"] = plain["responses"] or {}
        plain["dependencies"] = list(plain["dependencies"] or [])
        plain["methods"] = {method.upper() for method in plain["methods"] or ["GET"]}
        plain["path_regex"], plain["path_format"], plain["param_convertors"] = compile_path(path)
        self.__dict__.update(plain, _waiting=(path, endpoint, options, plain))

    def work_out(self: Any, name: str) -> Any:
        """Called for what a route doesn't have (yet)."""
        if not name.startswith("__"):
            with _working:
                if "_waiting" in self.__dict__:
                    _finish(stock, self)
                if name in self.__dict__:
                    return self.__dict__[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    APIRoute.__init__ = start
    APIRoute.__getattr__ = work_out
    return True


def _finish(stock: Callable[..., None], route: Any) -> None:
    """Let FastAPI work it out from the arguments it was made with; what was changed since stays changed."""
    waiting = path, endpoint, options, plain = route.__dict__.pop("_waiting")
    changed = {name: value for name, value in route.__dict__.items() if value is not plain.get(name, _finish)}
    changed["dependencies"] = route.dependencies  # changed in place
    try:
        stock(route, path, endpoint, **options)
    except BaseException:
        route.__dict__["_waiting"] = waiting  # who asks again is told again
        raise
    route.__dict__.update(changed)

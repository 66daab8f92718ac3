"""Run by a runtime's Python: prints every route of Airflow's web server, as Airflow itself has them.

A JSON list of [method, path], parameters filled in: routers of FastAPI, what is mounted in them, and Flask's map.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from aerodrome_airflow.launch import prepare

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PLACE = re.compile(r"<[^>]*>|\{[^}]*\}")


def of_flask(app: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for rule in app.url_map.iter_rules():
        for method in rule.methods or ():
            yield method, prefix + rule.rule


def of_starlette(app: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    for route in getattr(app, "routes", ()):
        inner = getattr(route, "app", None)
        if not hasattr(route, "methods") and inner is not None:  # a mount
            yield from within(inner, prefix + route.path)
        else:
            for method in getattr(route, "methods", None) or ():
                yield method, prefix + route.path


def within(app: Any, prefix: str) -> Iterator[tuple[str, str]]:
    flask = getattr(app, "app", None)
    if hasattr(app, "routes"):
        yield from of_starlette(app, prefix)
    elif hasattr(flask, "url_map"):
        yield from of_flask(flask, prefix)
    yield "GET", prefix + "/"


def main(major: int) -> None:
    prepare([])
    if major >= 3:
        from airflow.api_fastapi.app import create_app

        found = set(of_starlette(create_app(apps="all")))
    else:
        from airflow.www.app import create_app

        found = set(of_flask(create_app(), ""))
    table = sorted((method, PLACE.sub("1", path)) for method, path in found if method in METHODS)
    sys.stdout.write("\n" + json.dumps(table) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))

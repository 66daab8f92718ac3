"""Run by a runtime's Python: `web_documents.py stock|ours` prints what the web server of Airflow 3 says about itself.

A JSON object: the OpenAPI document of the public API, and for the API of the tasks what it answers to each version.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

if sys.argv[1] == "ours":
    from aerodrome_airflow import execution_api, lazy_routes

    assert lazy_routes.install()
    assert execution_api.install()

from airflow.api_fastapi.core_api.routes.public import public_router
from airflow.api_fastapi.core_api.routes.ui import ui_router
from airflow.api_fastapi.execution_api.app import create_task_execution_api_app
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.testclient import TestClient


def digest(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def public() -> FastAPI:
    app = FastAPI()
    app.include_router(ui_router)
    app.include_router(public_router)
    return app


app, tasks = public(), create_task_execution_api_app()
newest, *older = [version.value for version in tasks.versions.versions]
client = TestClient(tasks, raise_server_exceptions=False)
answers: dict[str, Any] = {}


def ask(version: str) -> list[Any]:
    """A task that isn't there, without a token: the answers differ between versions, and none needs a database."""
    header = {"Airflow-API-Version": version}
    made = [
        client.get("/health", headers=header),
        client.patch("/task-instances/0/run", headers=header, json={}),
        client.get("/dag-runs/a/previous?logical_date=2026-01-01", headers=header),
        client.get("/variables/docs", headers=header),
    ]
    return [[answer.status_code, answer.headers.get("airflow-api-version"), answer.text] for answer in made]


with client:
    answers["newest first"] = ask(newest)
    ready = {version: len(router.routes) for version, router in tasks.router.versioned_routers.items()}
    for version in [*older, "2026-01-01", "1999-01-01", newest]:
        answers[version] = ask(version)
    routes = {version: router.routes for version, router in tasks.router.versioned_routers.items()}
documents = {version: digest(get_openapi(title="", version="", routes=found)) for version, found in routes.items()}
json.dump(
    {
        "public": digest(app.openapi()),
        "paths": len(app.openapi()["paths"]),
        "answers": answers,
        "documents": documents,
        "ready at first": ready,
    },
    sys.stdout,
)

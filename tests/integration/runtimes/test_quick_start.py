"""What starts faster says the same: Airflow's own documents and answers, with and without our shortcuts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aerodrome.domain import versions
from support.real_airflow import Runtime

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

SCRIPT = Path(__file__).parent / "web_documents.py"
WITH_TASKS_API = [name for name, version in versions.VERSIONS.items() if version.major >= 3]
START = """
import sys
from aerodrome_airflow import quick_start
quick_start.prepare(sys.argv[2:])
quick_start.import_airflow() if sys.argv[1] == "ours" else __import__("airflow")
from airflow import exceptions
from airflow.utils.serve_logs import serve_logs
import json
early = {name: name in sys.modules for name in ("kubernetes", "fastapi")}
names = ("PodMutationHookException", "PodReconciliationError")
errors = [getattr(exceptions, name).__module__ for name in names if hasattr(exceptions, name)]
print(json.dumps({"errors": errors, **early}))
"""


def inside(runtime: Runtime, home: Path, *arguments: str) -> dict[str, Any]:
    """What a program that the runtime's Python runs prints in the end: JSON."""
    variables = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__API_AUTH__JWT_SECRET": "x" * 64,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"{version_of(runtime).driver}://a:b@127.0.0.1:1/nothing",
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{version_of(runtime).driver}://a:b@127.0.0.1:1/nothing",
    }
    program = runtime.layout.runtime(runtime.key) / "bin" / "python"
    done = subprocess.run(
        [program, "-P", *arguments], env=variables, cwd=home, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def version_of(runtime: Runtime) -> versions.AirflowVersion:
    return versions.get(runtime.key.split("-")[0])


@pytest.mark.parametrize("version", WITH_TASKS_API)
def test_routes_made_late_are_the_same_routes(version: str, runtimes: Callable[[str], Runtime], tmp_path: Path) -> None:
    stock = inside(runtimes(version), tmp_path, str(SCRIPT), "stock")
    ours = inside(runtimes(version), tmp_path, str(SCRIPT), "ours")
    for what in ("public", "paths", "documents", "answers"):
        assert ours[what] == stock[what]
    assert stock["paths"] > 50
    assert len(stock["documents"]) > 1
    newest = max(stock["documents"])
    assert [name for name, routes in ours["ready at first"].items() if routes] == [newest]
    assert ours["ready at first"][newest] == stock["ready at first"][newest]


@pytest.mark.parametrize("version", versions.VERSIONS)
def test_airflow_is_imported_without_what_a_component_does_not_use(
    version: str, runtimes: Callable[[str], Runtime], tmp_path: Path
) -> None:
    found = runtimes(version)
    ours = inside(found, tmp_path, "-c", START, "ours", "scheduler", "--skip-serve-logs")
    stock = inside(found, tmp_path, "-c", START, "stock", "scheduler", "--skip-serve-logs")
    assert ours["errors"] == stock["errors"]
    assert not ours["kubernetes"]
    assert not ours["fastapi"]

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerodrome.domain import versions
from aerodrome.layout import Layout
from aerodrome.runtimes import template
from aerodrome.runtimes.build import build
from aerodrome.runtimes.key import choose_python
from support.real_airflow import Environment, Runtime, running_environment, running_valkey

DAGS = Path(__file__).parent / "dags.py"


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with running_valkey() as url:
        yield url


@pytest.fixture(scope="session")
def runtime() -> Iterator[Runtime]:
    """The real thing, from the package registry, in a home that other users can enter."""
    home = Path(tempfile.mkdtemp(prefix="aero-home-", dir="/tmp"))
    home.chmod(0o755)
    try:
        python = choose_python(versions.get("3.3.1"), as_other_user=True)[1]
        yield Runtime(Layout(home), build(Layout(home), "3.3.1", python), python)
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def templated(runtime: Runtime, postgres_url: str) -> Runtime:
    """The runtime, with its template database on the server."""
    asyncio.run(template.ensure(postgres_url, runtime.layout, runtime.key))
    return runtime


@pytest.fixture(scope="session")
def airflow(templated: Runtime, postgres_url: str, valkey_url: str) -> Iterator[Environment]:
    dags = {"example.py": DAGS.read_text()}
    with running_environment(
        postgres_url, valkey_url, templated.layout, templated.key, "0123456789ab", dags
    ) as environment:
        yield environment

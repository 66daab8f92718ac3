from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
import uvloop

from aerodrome.domain import versions
from aerodrome.layout import Layout
from aerodrome.runtimes import database, template
from aerodrome.runtimes.build import build
from aerodrome.runtimes.key import choose_python
from support.real_airflow import Environment, Runtime, running_environment, running_valkey

DAGS = Path(__file__).parent / "dags.py"


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What the control plane does runs on its loop, which leaves descriptors open in what it starts.

    The rest are programs of their own on asyncio's.
    """
    if item.path.name == "test_cli.py":
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.SelectorEventLoop}


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with running_valkey() as url:
        yield url


@pytest.fixture(scope="session")
def runtimes() -> Iterator[Callable[[str], Runtime]]:
    """The real thing, from the package registry, by version, in a home that other users can enter; each built once."""
    home = Path(tempfile.mkdtemp(prefix="aero-home-", dir="/tmp"))
    home.chmod(0o755)

    @cache
    def built(version: str) -> Runtime:
        python = choose_python(versions.get(version), as_other_user=True)[1]
        return Runtime(Layout(home), build(Layout(home), version, python), python)

    try:
        yield built
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def runtime(runtimes: Callable[[str], Runtime]) -> Runtime:
    return runtimes(versions.DEFAULT_VERSION)


@pytest.fixture(scope="session")
def templated(runtime: Runtime, postgres_url: str) -> Runtime:
    """The runtime, with its template database on the server."""
    asyncio.run(template.ensure(postgres_url, runtime.layout, runtime.key))
    return runtime


@pytest.fixture(scope="session", params=versions.VERSIONS)
def airflow(
    request: pytest.FixtureRequest, runtimes: Callable[[str], Runtime], postgres_url: str, valkey_url: str
) -> Iterator[Environment]:
    """An environment of each version, one after the other."""
    found = runtimes(request.param)
    asyncio.run(template.ensure(postgres_url, found.layout, found.key))
    dags = {"example.py": DAGS.read_text()}
    with running_environment(postgres_url, valkey_url, found.layout, found.key, "0123456789ab", dags) as environment:
        yield environment
    asyncio.run(database.drop(postgres_url, "0123456789ab"))

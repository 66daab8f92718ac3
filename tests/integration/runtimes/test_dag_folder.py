"""A real DAG processor that would look for files once an hour: it finds what an exchange of its folder brings."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator, Mapping

import httpx
import pytest

from aerodrome import files
from aerodrome.domain import versions
from aerodrome.domain.component import ComponentKind
from aerodrome.runtimes import database, template
from support.real_airflow import Environment, Runtime, running_environment

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

ID = "fedcba987654"
SLOTS = {"webserver-1": ComponentKind.WEB_SERVER, "dag-processor-1": ComponentKind.DAG_PROCESSOR}
HOUR = "3600"
DAG = """
try:
    from airflow.sdk import DAG
except ImportError:
    from airflow import DAG

with DAG("{}", schedule=None):
    pass
"""


@pytest.fixture(scope="module", params=versions.VERSIONS)
def hourly(
    request: pytest.FixtureRequest, runtimes: Callable[[str], Runtime], postgres_url: str, valkey_url: str
) -> Iterator[Environment]:
    """A web server and a DAG processor that does nothing by itself for an hour once it has parsed its first file."""
    version, found = versions.get(request.param), runtimes(request.param)
    section = version.names["new_dag_interval"].partition(".")[0]
    options = {version.names["new_dag_interval"]: HOUR, f"{section}.min_file_process_interval": HOUR}
    asyncio.run(template.ensure(postgres_url, found.layout, found.key))
    with running_environment(
        postgres_url, valkey_url, found.layout, found.key, ID, {"first.py": DAG.format("first")},
        slots=SLOTS, options=options,
    ) as environment:  # fmt: skip
        yield environment
    asyncio.run(database.drop(postgres_url, ID))


def exchange(environment: Environment, texts: Mapping[str, str]) -> None:
    """As `content.folder` does: unchanged files keep their time, changed ones have a new one."""
    new = environment.folder / "new"
    new.mkdir()
    new.chmod(0o755)
    for name, text in texts.items():
        before = environment.dags / name
        if before.exists() and before.read_text() == text:
            (new / name).hardlink_to(before)
        else:
            (new / name).write_text(text)
            (new / name).chmod(0o644)
    files.put_in_place(new, environment.dags)
    shutil.rmtree(new)  # the old one by now, with what Python left in it


async def until_listed(environment: Environment, dags: set[str]) -> None:
    async def ids() -> set[str]:
        try:
            async with await environment.client("Admin") as client:
                answer = await client.get("/dags")
        except httpx.TransportError:
            return set()
        return {each["dag_id"] for each in answer.json()["dags"]}

    deadline = time.monotonic() + 240
    while await ids() != dags:
        assert time.monotonic() < deadline, environment.output()
        await asyncio.sleep(0.2)


async def test_new_changed_and_deleted_files_are_found_when_the_folder_is_exchanged(hourly: Environment) -> None:
    await until_listed(hourly, {"first"})
    first, second = DAG.format("first"), DAG.format("second")
    exchange(hourly, {"first.py": first, "second.py": second})
    await until_listed(hourly, {"first", "second"})
    exchange(hourly, {"first.py": first, "second.py": second + DAG.format("third")})
    await until_listed(hourly, {"first", "second", "third"})
    exchange(hourly, {"first.py": first})
    await until_listed(hourly, {"first"})

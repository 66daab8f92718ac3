from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from aerodrome.store.database import Pool, migrate, open_pool
from support.postgres import running_postgres

ROOT = Path(__file__).parents[1]
_FIRST = ("e2e", "machineroom", "runtimes")
_skipped: dict[str, str] = {}  # test without its parameters -> why
_passed: set[str] = set()


class KindScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no py.typed
    """Tests of the whole (tests/e2e) and of each kind of part (tests/integration/KIND) stay together.

    So what they share is made once. As `--dist loadgroup` would, which pytest 9.2 leaves without effect (pytest-xdist
    issue 1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        return _kind(nodeid)


def _kind(nodeid: str) -> str:
    parts = nodeid.split("/")
    return parts[2] if parts[1] == "integration" else parts[1]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> KindScheduling | None:
    return KindScheduling(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, and what makes whole installations isn't beside others that do, if it can be."""
    rank = {kind: number for number, kind in enumerate(_FIRST)}
    items.sort(key=lambda item: rank.get(_kind(item.nodeid), len(rank)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    node = report.nodeid.partition("[")[0]
    if report.skipped:
        _skipped[node] = str(report.longrepr)
    elif report.when == "call" and report.passed:
        _passed.add(node)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A row of the compatibility table is only as good as its proof: a proof that was skipped fails the run.

    But for what only root can show, when somebody else runs the tests.
    """
    table = (ROOT / "docs/reference/compatibility.md").read_text()
    rests_on = {node.replace("`", "") for node in re.findall(r"`tests/[\w/]+\.py::\w+`", table)}
    unproven = sorted(node for node in rests_on & _skipped.keys() - _passed if "only root" not in _skipped[node])
    if unproven:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        lines = ["skipped, but docs/reference/compatibility.md rests on:", *unproven]
        print("\n" + "\n  ".join(lines))


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Superuser URL of a real PostgreSQL, without a database."""
    with running_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def database_url(postgres_url: str) -> str:
    """Our own database, migrated."""
    with psycopg.connect(f"{postgres_url}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE aerodrome_test")
    asyncio.run(migrate(f"{postgres_url}/aerodrome_test"))
    return f"{postgres_url}/aerodrome_test"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool on our own database, empty."""
    async with open_pool(database_url, size=8) as opened:
        async with opened.connection() as connection:
            await connection.execute(
                "TRUNCATE environments, events, tokens, sessions, session_cookies RESTART IDENTITY"
            )
        yield opened

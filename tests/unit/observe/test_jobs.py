"""Airflow's table of jobs, as both majors keep it, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from aerodrome.domain.component import ComponentKind, ComponentState, Phase
from aerodrome.domain.plan import Plan
from aerodrome.errors import Temporary
from aerodrome.observe.health import HealthChecks
from aerodrome.observe.jobs import beating
from support.world import SECRETS, World, component, environment

SCHEDULER, TRIGGERER = ComponentKind.SCHEDULER, ComponentKind.TRIGGERER
NOW = datetime.now(UTC)
BEFORE, STARTED = NOW - timedelta(hours=1), NOW - timedelta(seconds=20)


@pytest.fixture
async def jobs(postgres_url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """The metadata database of the environment of `support.world`, with nothing but that table."""
    made = environment()
    async with await psycopg.AsyncConnection.connect(f"{postgres_url}/postgres", autocommit=True) as server:
        await server.execute(f"CREATE ROLE env_{made.id} LOGIN PASSWORD '{SECRETS.database_password}'".encode())
        await server.execute(f"CREATE DATABASE env_{made.id} OWNER env_{made.id}".encode())
        try:
            async with await psycopg.AsyncConnection.connect(url(postgres_url), autocommit=True) as connection:
                await connection.execute(
                    "CREATE TABLE job (state text, job_type text, start_date timestamptz, latest_heartbeat timestamptz)"
                )
                yield connection
        finally:
            await server.execute(f"DROP DATABASE env_{made.id} WITH (FORCE)".encode())
            await server.execute(f"DROP ROLE env_{made.id}".encode())


def address(postgres_url: str) -> str:
    return postgres_url.rpartition("@")[2]


def url(postgres_url: str) -> str:
    name = f"env_{environment().id}"
    return f"postgresql://{name}:{SECRETS.database_password}@{address(postgres_url)}/{name}"


async def add(
    jobs: psycopg.AsyncConnection, type_: str, started: datetime, age: int = 1, state: str = "running"
) -> None:
    beat = datetime.now(UTC) - timedelta(seconds=age)
    await jobs.execute("INSERT INTO job VALUES (%s, %s, %s, %s)", (state, type_, started, beat))


async def test_only_those_count_that_beat_and_were_started_since(
    jobs: psycopg.AsyncConnection, postgres_url: str
) -> None:
    await add(jobs, "SchedulerJob", BEFORE)
    await add(jobs, "SchedulerJob", NOW, age=60)
    await add(jobs, "SchedulerJob", NOW, state="success")
    await add(jobs, "TriggererJob", NOW)
    found = await beating(url(postgres_url), {SCHEDULER: STARTED, TRIGGERER: STARTED})
    assert found == {SCHEDULER: 0, TRIGGERER: 1}
    await add(jobs, "SchedulerJob", NOW)
    assert (await beating(url(postgres_url), {SCHEDULER: STARTED}))[SCHEDULER] == 1


async def test_a_database_that_is_away_is_temporary() -> None:
    with pytest.raises(Temporary, match="can't be asked"):
        await beating("postgresql://x:secret@127.0.0.1:1/x", {SCHEDULER: STARTED})


async def test_a_new_scheduler_is_well_when_it_beats_itself(
    jobs: psycopg.AsyncConnection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The health document is well as long as the old one is there."""
    made, checks = environment(), HealthChecks("redis://127.0.0.1:1/0", address(postgres_url))
    old, new = component("scheduler-1", SCHEDULER, "1"), component("scheduler-1", SCHEDULER, "2")
    plan = Plan("r", (new,), World().plan(made, SECRETS).tool, 10)
    observed = {
        old.name: ComponentState(old.name, Phase.RUNNING, since=BEFORE),
        new.name: ComponentState(new.name, Phase.RUNNING, since=STARTED),
    }

    async def web(*_: object) -> tuple[str, str, dict[str, object]]:
        well = {"status": "healthy"}
        return "webserver-1", "", {"scheduler": well, "triggerer": well, "dag_processor": well}

    async def workers(*_: object) -> dict[str, str]:
        return {}

    monkeypatch.setattr(checks, "_web", web)
    monkeypatch.setattr(checks, "_workers", workers)
    plan = Plan("r", (*plan.components, component("webserver-1", ComponentKind.WEB_SERVER)), plan.tool, 10)
    await add(jobs, "SchedulerJob", BEFORE)
    waiting = await checks.problems(made, SECRETS, plan, observed)
    assert waiting == {"scheduler-1": "sends no heartbeat yet beside the one that it takes over from"}
    await add(jobs, "SchedulerJob", NOW)
    assert await checks.problems(made, SECRETS, plan, observed) == {}
    await jobs.execute("TRUNCATE job")
    alone = {new.name: observed[new.name]}
    assert await checks.problems(made, SECRETS, plan, alone) == {}, "alone the document speaks of it"

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from aerodrome.domain.component import ComponentState, Phase
from aerodrome.domain.environment import Status
from aerodrome.observe import health
from support.world import SECRETS, World, environment


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long workers got to answer, in seconds. None of them does."""
    seconds: list[float] = []

    async def nobody(url: str, prefix: str, nodes: Collection[str], timeout: float) -> set[str]:
        seconds.append(timeout)
        return set()

    monkeypatch.setattr(health, "ping_workers", nobody)
    return seconds


async def problems(status: Status) -> dict[str, str]:
    made = replace(environment(), status=status)
    plan = World().plan(made, SECRETS)
    observed = {component.name: ComponentState(component.name, Phase.RUNNING) for component in plan.components}
    return dict(
        await health.HealthChecks("redis://127.0.0.1:1/0", "127.0.0.1:1").problems(made, SECRETS, plan, observed)
    )


async def test_a_process_that_lives_is_not_yet_healthy(patience: list[float]) -> None:
    assert await problems(Status.CREATING) == {
        "webserver-1": "has no address yet",
        "worker-1": "does not answer through the broker yet",
    }


async def test_who_starts_is_asked_more_often(patience: list[float]) -> None:
    await problems(Status.CREATING)
    await problems(Status.AVAILABLE)
    starting, running = patience
    assert 0.5 <= starting < 1.0  # on a busy machine an answer takes some tenths of a second
    assert running == 2.0  # no false alarm about a worker whose machine is busy

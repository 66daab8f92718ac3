from __future__ import annotations

from dataclasses import replace

import pytest

from aerodrome.domain.component import ComponentKind, ComponentState, Phase
from aerodrome.domain.environment import Status
from aerodrome.domain.plan import Plan
from aerodrome.server.world import web_addresses
from support.world import component, environment

NEW = component("webserver-1", ComponentKind.WEB_SERVER, "2")
OLD = component("webserver-1", ComponentKind.WEB_SERVER, "1")
PLAN = Plan("runtime", (NEW,), component("tool", ComponentKind.JOB), 10)


def seen(name: str, phase: Phase, port: int) -> ComponentState:
    return ComponentState(name, phase, {"web": f"127.0.0.1:{port}"})


BOTH = {OLD.name: seen(OLD.name, Phase.RUNNING, 1), NEW.name: seen(NEW.name, Phase.RUNNING, 2)}


@pytest.mark.parametrize("status", Status)
def test_one_set_of_web_servers_answers_the_one_that_is_known_to_be_well(status: Status) -> None:
    """Running isn't healthy: the planned one may yet be importing. In a roll back the other one is what failed."""
    made = replace(environment(), status=status)
    rolls_back = status in (Status.ROLLING_BACK, Status.UNAVAILABLE)
    assert web_addresses(made, PLAN, BOTH) == (["127.0.0.1:2"] if rolls_back else ["127.0.0.1:1"])


@pytest.mark.parametrize("status", [Status.UPDATING, Status.ROLLING_BACK])
def test_what_does_not_run_answers_nothing(status: Status) -> None:
    made = replace(environment(), status=status)
    starting = {**BOTH, NEW.name: seen(NEW.name, Phase.STARTING, 2)}
    draining = {**BOTH, OLD.name: seen(OLD.name, Phase.DRAINING, 1)}
    assert web_addresses(made, PLAN, starting) == ["127.0.0.1:1"]
    assert web_addresses(made, PLAN, draining) == ["127.0.0.1:2"]
    assert web_addresses(made, PLAN, {NEW.name: starting[NEW.name]}) == []

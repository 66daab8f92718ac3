from __future__ import annotations

from dataclasses import replace

from aerodrome.domain.component import ComponentKind, ComponentState, Phase
from aerodrome.domain.plan import Plan
from aerodrome.server.world import tool, web_addresses
from support.world import component

NEW = component("webserver-1", ComponentKind.WEB_SERVER, "2")
OLD = component("webserver-1", ComponentKind.WEB_SERVER, "1")
PLAN = Plan("runtime", (NEW,), component("tool", ComponentKind.JOB), 10)


def seen(name: str, phase: Phase, port: int) -> ComponentState:
    return ComponentState(name, phase, {"web": f"127.0.0.1:{port}"})


def test_arguments_of_the_command_line_are_never_in_argv() -> None:
    made = tool(PLAN, ("variables", "set", "password", "hunter2 {x} ä"))
    assert "hunter2" not in repr((made.command, made.variables, made.templates))
    assert "hunter2" in made.secrets["AERODROME_ARGUMENTS"]


def test_the_planned_web_server_answers_once_it_runs() -> None:
    both = {OLD.name: seen(OLD.name, Phase.RUNNING, 1), NEW.name: seen(NEW.name, Phase.RUNNING, 2)}
    assert web_addresses(PLAN, both) == ["127.0.0.1:2"]


def test_the_old_web_server_answers_while_the_planned_one_starts() -> None:
    starting = {OLD.name: seen(OLD.name, Phase.RUNNING, 1), NEW.name: seen(NEW.name, Phase.STARTING, 2)}
    assert web_addresses(PLAN, starting) == ["127.0.0.1:1"]
    assert web_addresses(PLAN, {NEW.name: replace(starting[NEW.name])}) == []

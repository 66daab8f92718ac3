"""Which sides lead to an environment: as the mode in force has it; private ones never without rules."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from aerodrome.domain.environment import Environment, Fallback
from aerodrome.domain.plan import NOTHING
from aerodrome.domain.web_server import Side
from aerodrome.errors import Temporary
from aerodrome.gateway.ports import Route
from aerodrome.server.door import Door, GatewayRoutes
from support.world import environment


@dataclass
class World:
    """Gateway, store and security groups: what was done, in order."""

    done: list[str] = field(default_factory=list)
    served: dict[Side, Route] = field(default_factory=dict)
    away: bool = False

    async def add(self, route: Route) -> None:
        self.done.append(f"add {route.side}")
        self.served[route.side] = route

    async def remove(self, environment_id: str, *sides: Side) -> None:
        for side in sides or tuple(Side):
            self.done.append(f"remove {side}")
            self.served.pop(side, None)

    async def addresses(self) -> dict[str, str]:
        return {environment().id: "127.83.1.1"}

    async def ensure(self, made: Environment) -> str:
        self.done.append("rules")
        if self.away:
            raise Temporary("EC2 can't be asked now")
        return "a note"

    async def drop(self, environment_id: str) -> None:
        self.done.append("forget rules")


def routes(world: World, *, by_address: bool = True) -> GatewayRoutes:
    parts: Any = world
    door = Door(parts, parts, parts, by_address=by_address, private_port=8444)
    return GatewayRoutes(parts, parts, door, parts)


def of(mode: str) -> Environment:
    return replace(environment(WebserverAccessMode=mode), host="127.83.1.1:8443")


async def test_a_mode_that_changes_closes_last_what_it_closes() -> None:
    world = World()
    assert await routes(world).ensure(of("PUBLIC_ONLY"), NOTHING, {}) == ""
    assert world.done == ["add public", "remove private"]
    world.done.clear()
    assert await routes(world).ensure(of("PRIVATE_ONLY"), NOTHING, {}) == "a note"
    assert world.done == ["rules", "add private", "remove public"]
    private = world.served[Side.PRIVATE]
    assert (private.host, private.address, private.base_host) == ("127.84.1.1:8444", "127.84.1.1", "127.83.1.1:8443")
    world.done.clear()
    await routes(world, by_address=False).ensure(of("PUBLIC_AND_PRIVATE"), NOTHING, {})
    assert world.done == ["add public", "rules", "add private"]
    assert world.served[Side.PRIVATE].address is None


async def test_without_rules_the_private_side_stays_shut_and_what_was_open_stays_so() -> None:
    world = World()
    await routes(world).ensure(of("PUBLIC_ONLY"), NOTHING, {})
    world.away = True
    with pytest.raises(Temporary):
        await routes(world).ensure(of("PRIVATE_ONLY"), NOTHING, {})
    assert set(world.served) == {Side.PUBLIC}


async def test_an_update_that_may_yet_be_undone_changes_nothing() -> None:
    world, before = World(), of("PUBLIC_ONLY")
    after = {**before.desired, "WebserverAccessMode": "PRIVATE_ONLY"}
    updating = replace(before, applied=before.desired, desired=after, fallback=Fallback("runtime", 0))
    await routes(world).ensure(updating, NOTHING, {})
    assert set(world.served) == {Side.PUBLIC}
    await routes(world).ensure(replace(updating, applied=after, fallback=None), NOTHING, {})
    assert set(world.served) == {Side.PRIVATE}


async def test_nothing_leads_to_what_is_deleted() -> None:
    world = World()
    await routes(world).ensure(of("PRIVATE_ONLY"), NOTHING, {})
    await routes(world).drop(environment().id)
    assert world.served == {}
    assert world.done[-1] == "forget rules"

"""Rules of security groups are read once and again, stored, and hold while EC2 is away."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import pytest

from aerodrome.domain.environment import Environment, EnvironmentKey
from aerodrome.domain.ingress import Ingress, Rule
from aerodrome.errors import Temporary
from aerodrome.server.security_groups import SecurityGroups
from aerodrome.store.database import Pool
from aerodrome.store.ingress import IngressStore
from support.world import environment

OFFICE, HOME = "192.0.2.7", "198.51.100.7"


def rule(client: str) -> Rule:
    return Rule((ipaddress.ip_network(f"{client}/32"),), 443, 443)


@dataclass
class Ec2:
    clients: list[str] = field(default_factory=lambda: [OFFICE])
    missing: tuple[str, ...] = ()
    away: bool = False
    asked: list[tuple[str, ...]] = field(default_factory=list)
    heard: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def ingress(self, key: EnvironmentKey, groups: Collection[str]) -> Ingress:
        self.asked.append(tuple(groups))
        self.heard.release()
        if self.away:
            raise Temporary("EC2 can't be asked now")
        return Ingress(tuple(groups), tuple(map(rule, self.clients)), self.missing)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def asking(*groups: str) -> Environment:
    return replace(environment(), desired={"NetworkConfiguration": {"SecurityGroupIds": list(groups)}})


@pytest.fixture
async def store(pool: Pool) -> IngressStore:
    async with pool.connection() as connection:
        await connection.execute("TRUNCATE ingress")
    return IngressStore(pool)


async def settled(groups: SecurityGroups) -> None:
    await asyncio.gather(*groups._reading.values())


async def test_nobody_gets_in_before_the_rules_are_known(store: IngressStore) -> None:
    ec2, made = Ec2(away=True), asking("sg-1")
    groups = SecurityGroups(ec2, store, port=8444, interval=10)
    assert not groups.admits(made.id, OFFICE)
    with pytest.raises(Temporary):
        await groups.ensure(made)
    assert not groups.admits(made.id, OFFICE)
    ec2.away = False
    assert await groups.ensure(made) == ""
    assert groups.admits(made.id, OFFICE)
    assert not groups.admits(made.id, HOME)
    assert not groups.admits("another", OFFICE)
    assert groups.groups(made.id) == ("sg-1",)


async def test_rules_are_read_again_when_they_are_old_beside_what_goes_on(store: IngressStore) -> None:
    ec2, made, clock = Ec2(), asking("sg-1"), Clock()
    groups = SecurityGroups(ec2, store, port=8444, interval=10, clock=clock)
    await groups.ensure(made)
    ec2.clients = [HOME]
    for clock.now in (1.0, 9.9):
        await groups.ensure(made)
    await settled(groups)
    assert len(ec2.asked) == 1
    clock.now = 10.0
    await groups.ensure(made)
    await groups.ensure(made)
    await settled(groups)
    assert len(ec2.asked) == 2, "one read at a time"
    assert (groups.admits(made.id, OFFICE), groups.admits(made.id, HOME)) == (False, True)


async def test_what_was_known_last_holds_while_ec2_is_away_and_over_a_restart(store: IngressStore) -> None:
    ec2, made, clock = Ec2(), asking("sg-1"), Clock()
    groups = SecurityGroups(ec2, store, port=8444, interval=10, clock=clock)
    await groups.ensure(made)
    ec2.away, clock.now = True, 60.0
    await groups.ensure(made)
    await settled(groups)
    assert groups.admits(made.id, OFFICE)
    after_a_kill = SecurityGroups(ec2, store, port=8444, interval=10, clock=clock)
    assert await after_a_kill.ensure(made) == ""
    await settled(after_a_kill)
    assert after_a_kill.admits(made.id, OFFICE)
    assert not after_a_kill.admits(made.id, HOME)


async def test_other_groups_are_read_before_they_count(store: IngressStore) -> None:
    ec2 = Ec2()
    groups = SecurityGroups(ec2, store, port=8444, interval=10)
    made = asking("sg-1")
    await groups.ensure(made)
    ec2.clients, ec2.away = [HOME], True
    with pytest.raises(Temporary):
        await groups.ensure(asking("sg-2"))
    assert groups.admits(made.id, OFFICE), "the former ones, until then"
    ec2.away = False
    await groups.ensure(asking("sg-2"))
    assert (groups.admits(made.id, OFFICE), groups.admits(made.id, HOME)) == (False, True)


async def test_a_person_hears_of_groups_that_let_nobody_in(store: IngressStore) -> None:
    ec2 = Ec2(clients=[], missing=("sg-2",))
    groups = SecurityGroups(ec2, store, port=8444, interval=10)
    assert "sg-2" in await groups.ensure(asking("sg-1", "sg-2"))
    ec2.missing = ()
    assert "No inbound rule of sg-1" in await groups.ensure(asking("sg-1"))


async def test_nothing_is_left_of_a_deleted_environment(store: IngressStore) -> None:
    made = asking("sg-1")
    groups = SecurityGroups(Ec2(), store, port=8444, interval=0)
    await groups.ensure(made)
    await groups.ensure(made)
    await groups.drop(made.id)
    await groups.drop(made.id)
    assert not groups.admits(made.id, OFFICE)
    assert await store.all() == {}

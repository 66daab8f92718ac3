"""What a dead worker held at a real broker, and what the next one makes of it. What the database would say is given."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from types import ModuleType
from typing import Any

import pytest
import redis
from kombu import Connection, Queue
from kombu.transport import redis as transport

from aerodrome_airflow import unacked
from aerodrome_airflow.incarnation import Incarnation
from support.real_airflow import running_valkey

PREFIX = "0123456789ab:"
QUEUE = "default"


class Fate(Enum):
    """As `aerodrome_airflow.fates`, which needs SQLAlchemy."""

    WAITS = "waits"
    RUNS = "runs"
    LOST = "lost"
    ENDED = "ended"


@dataclass
class Broker:
    """A connection like a worker's, and a look past it."""

    connection: Connection
    client: redis.Redis
    fates: dict[str, Fate] = field(default_factory=dict)
    recorded: dict[str, Fate] = field(default_factory=dict)

    def fate_of(self, task: str, *, gone: bool) -> Fate:
        """Who is known to be gone can't be at work."""
        fate = self.fates[task]
        return Fate.LOST if gone and fate is Fate.RUNS else fate

    def send(self, **fates: Fate) -> None:
        for task, fate in fates.items():
            self.fates[task] = fate
            with self.connection.Producer() as producer:
                producer.publish({}, routing_key=QUEUE, declare=[Queue(QUEUE)], headers={"id": task})

    def take(self, count: int) -> list[Any]:
        """As a worker's consumer does."""
        channel = self.connection.default_channel
        return [channel.basic_get(QUEUE) for _ in range(count)]

    def settle(self, ours: Incarnation) -> None:
        unacked.settle(self, self.connection.default_channel, ours)

    def queued(self) -> int:
        return int(self.client.llen(f"{PREFIX}{QUEUE}"))

    def listed(self) -> int:
        return int(self.client.hlen(f"{PREFIX}unacked"))

    def accounts(self) -> list[str]:
        return sorted(key.decode().removeprefix(PREFIX) for key in self.client.keys(f"{PREFIX}aerodrome.*"))


@pytest.fixture(scope="module")
def valkey_url() -> Iterator[str]:
    with running_valkey() as url:
        yield url


@pytest.fixture
def broker(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    monkeypatch.setattr(transport.Channel, "QoS", transport.QoS)  # what `keep_account` replaces comes back
    options = {"global_keyprefix": PREFIX}
    with Connection(valkey_url, transport_options=options) as connection, redis.from_url(valkey_url) as client:
        client.flushall()
        broker = Broker(connection, client)
        fates = ModuleType("aerodrome_airflow.fates")
        given = {
            "Fate": Fate,
            "fate_of": lambda app, task, *, gone=False: app.fate_of(task, gone=gone),
            "record_end": lambda app, task, fate: app.recorded.update({task: fate}),
        }
        vars(fates).update(given)
        monkeypatch.setitem(sys.modules, fates.__name__, fates)
        yield broker


@pytest.fixture
def ours() -> Incarnation:
    return Incarnation.ours("worker-1-abc")


@pytest.fixture
def dead(ours: Incarnation) -> Incarnation:
    return replace(ours, start=ours.start - 1)


def test_an_account_lasts_as_long_as_the_message_is_held(broker: Broker, ours: Incarnation) -> None:
    unacked.keep_account(ours)
    broker.send(one=Fate.RUNS, two=Fate.RUNS)
    first, second = broker.take(2)
    assert broker.accounts() == [f"aerodrome.held.{ours}", "aerodrome.workers"]
    first.ack()
    second.reject(requeue=True)
    assert broker.accounts() == ["aerodrome.workers"]
    assert (broker.queued(), broker.listed()) == (1, 0)


def test_each_task_of_a_dead_worker_gets_what_is_due(broker: Broker, ours: Incarnation, dead: Incarnation) -> None:
    unacked.keep_account(dead)
    broker.send(waits=Fate.WAITS, runs=Fate.RUNS, lost=Fate.LOST, ended=Fate.ENDED)
    held = broker.take(4)
    broker.settle(ours)
    assert broker.recorded == {"lost": Fate.LOST, "ended": Fate.ENDED}
    assert (broker.queued(), broker.listed()) == (1, 1)
    assert f"aerodrome.held.{dead}" in broker.accounts(), "what works on is forgotten"
    broker.fates["runs"] = Fate.ENDED
    broker.settle(ours)
    assert broker.recorded["runs"] is Fate.ENDED
    assert broker.accounts() == []
    assert (broker.queued(), broker.listed()) == (1, 0)
    broker.settle(ours)
    assert broker.queued() == 1
    assert len(held) == 4


def test_what_a_worker_in_another_namespace_ran_ended_with_it(broker: Broker, ours: Incarnation) -> None:
    """Its processes' numbers are others' here: whether one of them is in use says nothing."""
    unacked.keep_account(replace(ours, machine="another namespace"))
    broker.send(waits=Fate.WAITS, runs=Fate.RUNS)
    held = broker.take(2)
    broker.settle(ours)
    assert broker.recorded == {"runs": Fate.LOST}
    assert (broker.queued(), broker.listed(), len(held)) == (1, 0, 2)
    assert broker.accounts() == []


def test_who_lives_is_left_alone(broker: Broker, ours: Incarnation) -> None:
    unacked.keep_account(replace(ours, component="worker-2-abc"))
    broker.send(waits=Fate.WAITS)
    held = broker.take(1)
    broker.settle(ours)
    assert (broker.queued(), broker.listed(), len(held)) == (0, 1, 1)


def test_what_we_hold_and_no_longer_know_of_is_put_back(broker: Broker, ours: Incarnation) -> None:
    """A lost connection makes Celery forget what waits; the broker was away when it would have given it back."""
    unacked.keep_account(ours)
    broker.send(waits=Fate.WAITS)
    held = broker.take(1)
    broker.settle(ours)
    assert (broker.queued(), broker.listed(), len(held)) == (1, 0, 1)


def test_a_lost_connection_gives_back_what_waits_and_not_what_runs(
    broker: Broker, ours: Incarnation, monkeypatch: pytest.MonkeyPatch
) -> None:
    unacked.keep_account(ours)
    broker.send(waits=Fate.WAITS, runs=Fate.RUNS)
    waits, runs = broker.take(2)

    @dataclass(frozen=True)
    class Request:
        message: Any

    at_work = {Request(runs)}
    monkeypatch.setattr(unacked.worker_state, "active_requests", at_work)
    broker.connection.close()
    assert waits.delivery_tag != runs.delivery_tag
    assert (broker.queued(), broker.listed()) == (1, 1)
    broker.settle(ours)
    assert (broker.queued(), broker.listed()) == (1, 1)
    at_work.clear()
    broker.fates["runs"] = Fate.ENDED
    runs.ack()
    broker.settle(ours)
    assert (broker.queued(), broker.listed()) == (1, 0)

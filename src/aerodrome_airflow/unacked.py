"""Tasks that a worker held when it was killed: put back or declared lost as soon as another worker looks.

With Redis or Valkey as the broker, Celery lists what was handed out and isn't finished, but not to whom. After a
`kill -9` nothing happens until Airflow's own time limits are over (5 minutes for a task that ran, 30 for one that had
not begun) or the broker's (12 hours). So each worker keeps an account of what it holds, and its successor settles it:
what had not begun goes back into the queue; for what ran and is dead it records the failure that Celery itself records
when one of its children is killed, which the scheduler answers with a retry; what lives on is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger
from celery.worker import state as worker_state
from kombu.transport import redis as transport
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis.exceptions import RedisError

from aerodrome_airflow import orphans
from aerodrome_airflow.incarnation import Incarnation

log = get_logger(__name__)

_WORKERS = "aerodrome.workers"  # set of incarnations that may hold something
_EVERY = 20.0  # seconds between two looks


def _held_by(incarnation: Incarnation) -> str:
    return f"aerodrome.held.{incarnation}"


def keep_account(ours: Incarnation) -> None:
    """Every message that this process is handed is noted under its name until it is acknowledged or given back."""
    held = _held_by(ours)

    class Accounting(transport.QoS):  # type: ignore[misc]
        _noting: str | None = None

        def append(self, message: Any, delivery_tag: str) -> None:
            self._noting = delivery_tag
            try:
                super().append(message, delivery_tag)
            finally:
                self._noting = None

        @contextmanager
        def pipe_or_acquire(self, pipe: Any = None, client: Any = None) -> Iterator[Any]:
            """One transaction for Celery's list and ours."""
            with super().pipe_or_acquire(pipe, client) as found:
                if self._noting is not None:
                    found.sadd(_WORKERS, str(ours)).sadd(held, self._noting)
                yield found

        def restore_unacked_once(self, stderr: Any = None) -> None:
            """A lost connection gives back what waits, not what runs: that would run twice."""
            self._flush()
            for tag in _in_hand(worker_state.active_requests):
                self._delivered.pop(tag, None)
            super().restore_unacked_once(stderr)

        def ack(self, delivery_tag: str) -> None:
            """What ends after its connection was lost can't be acknowledged on it: the next look settles it."""
            if not self.channel.closed:
                super().ack(delivery_tag)

        def reject(self, delivery_tag: str, requeue: bool = False) -> None:
            if not self.channel.closed:
                super().reject(delivery_tag, requeue)

        def _remove_from_indices(self, delivery_tag: str, pipe: Any = None) -> Any:
            return super()._remove_from_indices(delivery_tag, pipe).srem(held, delivery_tag)

    transport.Channel.QoS = Accounting


def settle_regularly(app: Any, ours: Incarnation) -> None:
    """Let every worker of this process look for accounts of the dead: when it connects to the broker, and on and on."""

    class Settling(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.consumer.connection:Connection",)

        fresh = True  # nothing was started yet

        def start(self, consumer: Any) -> None:
            self._look(consumer)
            consumer.timer.call_repeatedly(_EVERY, self._look, (consumer,))

        def _look(self, consumer: Any) -> None:
            try:
                channel = consumer.connection.default_channel
                if self.fresh:
                    end_strays(channel, ours)
                Settling.fresh = False
                settle(app, channel, ours)
            except (RedisError, OSError) as error:
                log.warning("What dead workers held can't be looked at now: %s", error)

    app.steps["consumer"].add(Settling)


def end_strays(channel: Any, ours: Incarnation) -> None:
    """End what tasks of our killed predecessor started and left running, where those tasks are about to be retried.

    Raises:
        RedisError: the broker is away.
    """
    if not orphans.tasks_need_their_worker():
        return
    with channel.conn_or_acquire() as client:
        relatives = [other for other in _others(client, ours) if other.component == ours.component]
    if relatives and all(other.is_dead(seen_by=ours) for other in relatives):
        log.warning("Processes that tasks of a killed worker left running, and were ended: %s", orphans.end_strays())


def settle(app: Any, channel: Any, ours: Incarnation) -> None:
    """Settle the accounts of all incarnations that are dead. Safe to repeat, and for several workers at once.

    Raises:
        RedisError, OSError: broker or database is away; the rest is settled next time.
    """
    with channel.conn_or_acquire() as client:
        for incarnation in _others(client, ours):
            if not incarnation.is_dead(seen_by=ours):
                continue
            # In the sandbox a worker's processes end with it, and their numbers say nothing here: as after a reboot.
            gone = incarnation.machine != ours.machine
            held = _held(client, incarnation)
            over = [_settle_one(app, channel, client, incarnation, tag, gone=gone) for tag in held]
            if all(over):
                client.srem(_WORKERS, str(incarnation))
        # What a lost connection made us forget, and the broker was away when we gave it back.
        in_hand = _in_hand(worker_state.active_requests) | _in_hand(worker_state.reserved_requests)
        for tag in _held(client, ours) - in_hand:
            _settle_one(app, channel, client, ours, tag)


def _others(client: Any, ours: Incarnation) -> list[Incarnation]:
    found = [Incarnation.parse(bytes_to_str(entry)) for entry in client.smembers(_WORKERS)]
    return [incarnation for incarnation in found if incarnation != ours]


def _held(client: Any, incarnation: Incarnation) -> set[str]:
    return {bytes_to_str(tag) for tag in client.smembers(_held_by(incarnation))}


def _in_hand(requests: Iterable[Any]) -> set[str]:
    return {request.message.delivery_tag for request in tuple(requests)}


def _settle_one(app: Any, channel: Any, client: Any, holder: Incarnation, tag: str, *, gone: bool = False) -> bool:
    """False: it isn't over yet. `gone`: no process of the holder's lives."""
    from aerodrome_airflow.fates import Fate, fate_of, record_end  # here: needs what only a runtime has

    held = _held_by(holder)
    packed = client.hget(channel.unacked_key, tag)
    if packed is None:  # somebody else was faster
        client.srem(held, tag)
        return True
    message, _, _ = loads(bytes_to_str(packed))
    task = str(message["headers"]["id"])
    fate = fate_of(app, task, gone=gone)
    if fate is Fate.RUNS:
        return False
    log.warning("Task %s of %s, which is gone, %s", task, holder, fate.value)
    if fate is Fate.WAITS:
        channel.qos.restore_by_tag(tag, client)
    else:
        record_end(app, task, fate)
        channel.qos._remove_from_indices(tag).execute()
    client.srem(held, tag)
    return True

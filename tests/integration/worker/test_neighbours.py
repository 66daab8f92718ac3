"""Two environments on one broker: each gets in with its own password, and finds its own part alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from redis.exceptions import AuthenticationError, NoPermissionError

from aerodrome.domain.broker import broker_acl
from aerodrome.domain.plan import broker_prefix, broker_user
from support.real_airflow import running_valkey

ONE, TWO = "0" * 11 + "1", "0" * 11 + "2"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """HOST:PORT of a broker that has made a place for both."""
    with running_valkey() as url:
        with redis.from_url(url) as admin:
            for name in (ONE, TWO):
                rules = broker_acl(broker_user(name), f"password of {name}", broker_prefix(name))
                admin.execute_command("ACL", "SETUSER", *rules)
        yield url.rpartition("@")[2]


def client(address: str, environment: str, password: str | None = None) -> redis.Redis:
    host, _, port = address.partition(":")
    secret = password or f"password of {environment}"
    return redis.Redis(host=host, port=int(port), username=broker_user(environment), password=secret)


def test_nobody_gets_in_without_the_password_or_with_a_neighbours(address: str) -> None:
    with client(address, ONE) as one:
        assert one.ping()
    for environment, password in ((ONE, f"password of {TWO}"), (TWO, "wrong")):
        with client(address, environment, password) as other, pytest.raises(AuthenticationError):
            other.ping()
    host, _, port = address.partition(":")
    with redis.Redis(host=host, port=int(port)) as nobody, pytest.raises(AuthenticationError):
        nobody.ping()


def test_a_neighbours_queue_can_be_neither_read_nor_written_nor_listed(address: str) -> None:
    with client(address, ONE) as one, client(address, TWO) as two:
        one.lpush(f"{broker_prefix(ONE)}default", "task")
        queue = f"{broker_prefix(ONE)}default"
        for attack in (
            lambda: two.lrange(queue, 0, -1),
            lambda: two.lpush(queue, "mine"),
            lambda: two.delete(queue),
            lambda: two.publish(f"{broker_prefix(ONE)}celery.pidbox", "shutdown"),
            lambda: two.execute_command("ACL", "LIST"),
            lambda: two.config_get("*"),
            lambda: two.flushall(),
        ):
            with pytest.raises(NoPermissionError):
                attack()
        assert one.lrange(queue, 0, -1) == [b"task"]

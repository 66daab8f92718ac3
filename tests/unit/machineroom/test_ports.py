import os
import socket
from collections.abc import Iterator

import pytest

from aerodrome.errors import Permanent
from aerodrome.machineroom.listening import holder, listens
from aerodrome.machineroom.ports import Listener, choose, listeners, problem


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        yield server.getsockname()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listener(*usual: int, field: str = "front_port", public: bool = True) -> Listener:
    return Listener(field, "the front door", "AERODROME_PORT", usual, public=public)


def test_the_usual_port_is_taken_without_a_word() -> None:
    port = free_port()
    choice = choose([listener(port)], {}, {})["front_port"]
    assert (choice.port, choice.notice) == (port, None)


def test_an_explicit_port_that_is_taken_names_port_setting_and_process(taken: int) -> None:
    with pytest.raises(Permanent, match=rf"Port {taken}, asked for by AERODROME_PORT.*taken by process \d+ \("):
        choose([listener(4610)], {"front_port": taken}, {})


def test_the_next_usual_port_then_a_free_one(taken: int) -> None:
    second = free_port()
    choice = choose([listener(taken, second)], {}, {})["front_port"]
    assert choice.port == second
    assert choice.notice is not None
    assert str(taken) in choice.notice
    assert str(second) in choice.notice
    alone = choose([listener(taken)], {}, {})["front_port"]
    assert alone.port > taken
    assert problem(alone.port, ["127.0.0.1"]) is None


def test_a_private_port_moves_silently_at_first_and_with_a_notice_later(taken: int) -> None:
    private = listener(taken, field="postgres_port", public=False)
    assert choose([private], {}, {})["postgres_port"].notice is None
    later = choose([private], {}, {"postgres_port": taken})["postgres_port"]
    assert later.port != taken
    assert later.notice is not None


def test_the_port_of_last_time_is_kept_when_it_is_free() -> None:
    port = free_port()
    assert choose([listener(4610)], {}, {"front_port": port})["front_port"].port == port


def test_the_port_of_a_running_program_is_not_tried(taken: int) -> None:
    choice = choose([listener(4610)], {}, {"front_port": taken}, kept=["front_port"])["front_port"]
    assert (choice.port, choice.notice) == (taken, None)


def test_another_port_for_a_running_program_waits_for_a_restart(taken: int) -> None:
    choice = choose([listener(4610)], {"front_port": 1}, {"front_port": taken}, kept=["front_port"])["front_port"]
    assert choice.port == taken
    assert choice.notice is not None
    assert "AERODROME_PORT" in choice.notice


def test_no_port_is_given_twice(taken: int) -> None:
    several = [listener(taken, field=f"port{number}") for number in range(5)]
    chosen = [choice.port for choice in choose(several, {}, {}).values()]
    assert len(set(chosen)) == 5
    with pytest.raises(Permanent, match="already used for port0"):
        choose(several[:2], {"port0": chosen[0], "port1": chosen[0]}, {})


def test_a_port_that_moves_leaves_the_others_theirs(taken: int) -> None:
    both = [listener(taken, field="a"), listener(4611, field="b")]
    alone = choose(both[:1], {}, {"a": taken})["a"].port
    chosen = choose(both, {}, {"a": taken, "b": alone})
    assert chosen["b"].port == alone
    assert chosen["a"].port not in (taken, alone)


def test_the_listeners_cover_every_port_of_an_installation() -> None:
    found = {entry.field: entry for entry in listeners("127.0.0.1")}
    assert set(found) == {"front_port", "gateway_port", "private_port", "postgres_port", "valkey_port", "cloud_port"}
    assert found["gateway_port"].usual == (443, 8443)
    assert any(address.startswith("127.83.") for address in found["gateway_port"].addresses)
    assert any(address.startswith("127.84.") for address in found["private_port"].addresses)


def test_one_port_on_two_addresses_may_be_asked_for_twice() -> None:
    port = free_port()
    asked: dict[str, int | None] = {"gateway_port": port, "private_port": port}
    apart = [each for each in listeners("127.0.0.1", "127.0.0.1", "127.0.0.2") if each.field in asked]
    assert {choice.port for choice in choose(apart, asked, {}).values()} == {port}
    for binds in (("127.0.0.1", "127.0.0.1"), ("::", "127.0.0.2")):
        together = [each for each in listeners("127.0.0.1", *binds) if each.field in asked]
        with pytest.raises(Permanent, match=r"AERODROME_PRIVATE_GATEWAY_PORT.*already used for gateway_port"):
            choose(together, asked, {})


def test_who_holds_a_port(taken: int) -> None:
    assert str(os.getpid()) in str(holder(taken))
    assert holder(free_port()) is None
    assert listens(os.getpid(), taken)
    assert not listens(os.getpid(), free_port())

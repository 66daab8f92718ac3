"""Which port each listener gets: the one asked for, else the one of last time, else the usual one, else a free one."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aerodrome.domain.web_server import PRIVATE_NET, PUBLIC_NET
from aerodrome.errors import Permanent
from aerodrome.machineroom.listening import holder

_HIGHEST = 65535


@dataclass(frozen=True, slots=True)
class Listener:
    """One port of the installation."""

    field: str  # of Installation
    what: str  # for a person
    variable: str  # the setting that fixes it
    usual: tuple[int, ...]
    addresses: tuple[str, ...] = ("127.0.0.1",)  # all that it will be bound on
    public: bool = False  # people and host names carry it: a change is worth a notice


@dataclass(frozen=True, slots=True)
class Choice:
    port: int
    notice: str | None = None


def listeners(bind: str, gateway_bind: str = "127.0.0.1", private_bind: str = "127.0.0.1") -> tuple[Listener, ...]:
    """All ports of an installation: addresses of the front door, of public and of private web servers."""
    front = ("127.0.0.1",) if bind == "localhost" else (bind,)
    # In `address` mode the gateway listens on two addresses of these networks per environment.
    gateway, private = (gateway_bind, f"{PUBLIC_NET}0.1"), (private_bind, f"{PRIVATE_NET}0.1")
    return (
        Listener("front_port", "the front door", "AERODROME_PORT", (4610,), front, public=True),
        Listener(
            "gateway_port", "the web servers' gateway", "AERODROME_GATEWAY_PORT", (443, 8443), gateway, public=True
        ),
        Listener(
            "private_port", "private web servers", "AERODROME_PRIVATE_GATEWAY_PORT", (8444,), private, public=True
        ),
        Listener("postgres_port", "PostgreSQL", "AERODROME_POSTGRES_PORT", (4611,)),
        Listener("valkey_port", "Valkey", "AERODROME_VALKEY_PORT", (4612,)),
        Listener("cloud_port", "the embedded cloud", "AERODROME_CLOUD_PORT", (4613,)),
    )


def choose(
    wanted: Iterable[Listener],
    asked: Mapping[str, int | None],
    recorded: Mapping[str, int],
    kept: Iterable[str] = (),
) -> dict[str, Choice]:
    """A port for every listener, none twice. Blocking.

    `asked` are settings by field, `recorded` the ports of last time, `kept` fields whose program is running now (its
    port is taken by itself) or whose port may not change.

    Raises:
        Permanent: a port that was asked for is taken or needs privileges.
    """
    every = tuple(wanted)
    kept = set(kept)
    usual = {port for listener in every for port in listener.usual}
    choices: dict[str, Choice] = {}
    used = {port for port in asked.values() if port} | {recorded[field] for field in kept}
    for listener in every:
        port = asked.get(listener.field)
        if listener.field in kept:
            choices[listener.field] = _running(listener, recorded[listener.field], port)
        elif port is not None:
            _refuse_taken(listener, port, every, choices)
            choices[listener.field] = Choice(port)
        else:
            last = recorded.get(listener.field)
            theirs = {recorded[other.field] for other in every if other is not listener and other.field in recorded}
            others = (usual - set(listener.usual)) | theirs
            choices[listener.field] = _free(listener, last, used, others)
        used.add(choices[listener.field].port)
    return choices


def _running(listener: Listener, port: int, asked: int | None) -> Choice:
    if asked in (None, port):
        return Choice(port)
    return Choice(port, f"Still on port {port}: {listener.what}. {listener.variable} applies after `aerodrome down`.")


def problem(port: int, addresses: Iterable[str]) -> str | None:
    """Why the port can't be listened on, or None."""
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT don't count
            try:
                probe.bind((address, port))
                probe.listen(1)
            except OSError as error:
                return _words(error, port, address)
    return None


def _words(error: OSError, port: int, address: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"is taken by {holder(port) or 'another process'}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "needs privileges that this user doesn't have"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"can't be bound: this machine doesn't have the address {address}"
    return f"can't be bound on {address} ({error.strerror})"


def _overlap(one: Listener, other: Listener) -> bool:
    """Whether they would be bound on the same address, were their ports the same."""
    both = {*one.addresses, *other.addresses}
    return bool({"0.0.0.0", "::"} & both) or not set(one.addresses).isdisjoint(other.addresses)  # noqa: S104


def _refuse_taken(listener: Listener, port: int, every: Iterable[Listener], choices: Mapping[str, Choice]) -> None:
    rivals = [other.field for other in every if other.field in choices and _overlap(listener, other)]
    twice = next((field for field in rivals if choices[field].port == port), None)
    reason = f"is already used for {twice}" if twice else problem(port, listener.addresses)
    if reason:
        raise Permanent(
            f"Port {port}, asked for by {listener.variable} for {listener.what}, {reason}. "
            f"Stop that, or set {listener.variable} to another port."
        )


def _free(listener: Listener, last: int | None, used: set[int], others: set[int]) -> Choice:
    """The port of last time, a usual one, or the next free one after it; says so when it isn't what one expects."""
    first = last if last is not None else listener.usual[0]
    reason = None
    if first not in used:
        reason = problem(first, listener.addresses)
        if reason is None:
            return Choice(first)
    start = listener.usual[-1]
    for port in (*listener.usual[1:], *range(start, _HIGHEST)):
        if port in used or port in others or problem(port, listener.addresses):
            continue
        notice = f"Port {first} {reason or 'is used by another part'}: {listener.what} is on {port}"
        notice += f" ({listener.variable} chooses another)."
        return Choice(port, notice if last is not None or listener.public else None)
    raise Permanent(f"No free port was found for {listener.what}; set {listener.variable}.")

"""Ports, and the placeholders in a component's command and variables."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import random
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aerodrome.domain.component import Component
from aerodrome.errors import Permanent, Temporary
from aerodrome.files import write_file
from aerodrome.layout import Layout
from aerodrome.supervision.sandbox import AIRFLOW_HOME

log = logging.getLogger(__name__)

_RANGE = range(20000, 32000)  # below what the kernel hands out for outgoing connections
_DAMAGED = (ValueError, TypeError, AttributeError)
_SHARED = "*"  # the key of a slot's shared port: others ask for its address before its name is known


@dataclass(slots=True)
class _Book:
    """environment -> slot -> key -> port; and environment -> component -> port name -> port, as it was started."""

    slots: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    components: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)

    def taken(self) -> set[int]:
        return {
            port
            for kind in (self.slots, self.components)
            for environment in kind.values()
            for ports in environment.values()
            for port in ports.values()
        }


class Ports:
    """Ports of components: unique in the installation, kept in a file and its copy. Blocking.

    A slot keeps its ports. Its next component gets them, or new ones while the last one is still there; the shared
    port is everybody's in the slot.
    """

    def __init__(self, layout: Layout, address: str) -> None:
        self._file = layout.environments / "ports.json"
        self._copy = layout.environments / "ports.copy.json"
        self._lock = layout.environments / "ports.lock"
        self._address = address

    def of_slot(self, environment_id: str, slot: str) -> str:
        """host:port of the slot's shared port, chosen now if need be."""
        with self._open() as book:
            ports = book.slots.setdefault(environment_id, {}).setdefault(slot, {})
            if _SHARED not in ports:
                ports[_SHARED] = self._choose(book)
            return self.address(ports[_SHARED])

    def assign(self, environment_id: str, component: Component) -> dict[str, int]:
        """The ports of a component that is about to be started, its slot's shared one among them.

        Its own are those of the slot while nobody has them: neither a stranger nor the one that it takes over from.
        """
        if not component.ports and component.shared_port is None:
            return {}
        with self._open() as book:
            ports = book.slots.setdefault(environment_id, {}).setdefault(component.slot, {})
            siblings = book.components.setdefault(environment_id, {})
            held = {port for name, given in siblings.items() if name != component.name for port in given.values()}
            own = {}
            for name in component.ports:
                port = siblings.get(component.name, {}).get(name, ports.get(name))
                if port is None or port in held or not self._is_free(port):
                    port = self._choose(book)
                own[name] = ports[name] = port
            siblings[component.name] = own
            if component.shared_port is None:
                return own
            if _SHARED not in ports or self._is_taken_by_others(ports[_SHARED], component.name, siblings):
                ports[_SHARED] = self._choose(book)
            return {**own, component.shared_port: ports[_SHARED]}

    def _is_taken_by_others(self, port: int, name: str, siblings: Mapping[str, object]) -> bool:
        """Whether a shared port is a stranger's: it isn't while another component of the slot is there."""
        slot = _slot(name)
        return not any(other != name and _slot(other) == slot for other in siblings) and not self._is_free(port)

    def of_component(self, environment_id: str, name: str) -> dict[str, int]:
        return self._read().components.get(environment_id, {}).get(name, {})

    def stolen(self, environment_id: str, name: str) -> bool:
        """Whether somebody else listens on a port of this component, which doesn't run."""
        book = self._read()
        components = book.components.get(environment_id, {})
        shared = book.slots.get(environment_id, {}).get(_slot(name), {}).get(_SHARED)
        if shared is not None and self._is_taken_by_others(shared, name, components):
            return True
        held = {port for other, given in components.items() if other != name for port in given.values()}
        return any(port not in held and not self._is_free(port) for port in components.get(name, {}).values())

    def release(self, environment_id: str, name: str) -> None:
        """The component is gone; its slot keeps its ports."""
        if self.of_component(environment_id, name):
            with self._open() as book:
                book.components.get(environment_id, {}).pop(name, None)

    def forget(self, environment_id: str) -> None:
        book = self._read()
        if environment_id in book.slots or environment_id in book.components:
            with self._open() as book:
                book.slots.pop(environment_id, None)
                book.components.pop(environment_id, None)

    def address(self, port: int) -> str:
        return f"[{self._address}]:{port}" if ":" in self._address else f"{self._address}:{port}"

    def _read(self) -> _Book:
        try:
            return _parse(self._file)
        except _DAMAGED:
            with self._open() as book:  # mends it
                return book

    @contextmanager
    def _open(self) -> Iterator[_Book]:
        """The book, for us alone; written if it was changed or damaged."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            book, before = self._load()
            yield book
            after = _dump(book)
            if after != before:
                write_file(self._copy, after)  # first: it is never older than the file
                write_file(self._file, after)
        finally:
            os.close(descriptor)

    def _load(self) -> tuple[_Book, str]:
        """The book, and what stands in the file: nothing of use when it was damaged, and the copy is taken."""
        try:
            book = _parse(self._file)
        except _DAMAGED as error:
            try:
                copied = _parse(self._copy) if self._copy.exists() else None
            except _DAMAGED:
                copied = None
            if copied is None:
                raise Permanent(
                    f"{self._file} is damaged ({error}), and so is {self._copy.name} beside it. Restore one of them "
                    "from a backup; or run `aerodrome down`, remove both and the directory `run` of the installation, "
                    "and run `aerodrome up`."
                ) from error
            log.warning("%s was damaged (%s); it is written again from its copy", self._file, error)
            return copied, ""
        return book, _dump(book)

    def _choose(self, book: _Book) -> int:
        taken = book.taken()
        for port in random.sample(_RANGE, len(_RANGE)):
            if port not in taken and self._is_free(port):
                return port
        raise Temporary(f"No port between {_RANGE.start} and {_RANGE.stop} is free on {self._address}.", 10)

    def _is_free(self, port: int) -> bool:
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: a port whose last connections are fading away can be listened on.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._address, port))
            except OSError:
                return False
            return True


def _parse(path: Path) -> _Book:
    """What `_dump` wrote; an empty book when there is no file. Raises one of `_DAMAGED` when it is anything else."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return _Book()
    book = _Book(**json.loads(text))
    book.taken()  # looks at every entry
    return book


def _dump(book: _Book) -> str:
    return json.dumps({"slots": book.slots, "components": book.components}, indent=1, sort_keys=True)


def _slot(name: str) -> str:
    return name.rpartition("-")[0]


class _OnDemand(Mapping[str, str]):
    """What `{shared[SLOT]}` reads."""

    def __init__(self, look_up: Callable[[str], str]) -> None:
        self._look_up = look_up

    def __getitem__(self, slot: str) -> str:
        return self._look_up(slot)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class Placeholders:
    """Fills in what `domain.component.Component` lists."""

    def __init__(
        self, layout: Layout, environment_id: str, component: Component, ports: Mapping[str, int], places: Ports
    ) -> None:
        self._name = name = component.name
        self._values: dict[str, Any] = {
            "name": name,
            "home": str(AIRFLOW_HOME if component.confined else layout.airflow_home(environment_id)),
            "dags": str(layout.dags(environment_id)),
            "plugins": str(layout.plugins(environment_id)),
            "programs": str(layout.runtime(component.runtime) / "bin"),
            "logs": str(layout.logs(environment_id)),
            "options": str(layout.options(environment_id) / f"{name}.sealed"),
            "port": {key: str(port) for key, port in ports.items()},
            "shared": _OnDemand(lambda slot: places.of_slot(environment_id, slot)),
        }

    def fill(self, template: str) -> str:
        """Raises Permanent: an unknown placeholder, or a single brace."""
        try:
            return template.format_map(self._values)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise Permanent(
                f"Component {self._name}: {template!r} has a placeholder that can't be filled in ({error!r})."
            ) from error

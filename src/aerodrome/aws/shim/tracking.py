"""Who touched what: how a request's changes are found without comparing everything there is.

ministack keeps its state in module-level dictionaries and changes records in place, so "what was written" is not
enough: a record that was fetched while a changing request ran may have been changed, and is compared with what is
on disk. Two grains: whole services (by the store that was touched), and for S3's big tables single entries.
"""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

Entry = tuple[str, Any]  # (table, key)


class Touch:
    """What one request has touched so far. Threads it started may add to it after its end: that goes to `late`."""

    __slots__ = ("closed", "entries", "read_stores", "service", "written_stores")

    def __init__(self, service: str = "") -> None:
        self.service = service
        self.entries: set[Entry] = set()
        self.read_stores: set[int] = set()
        self.written_stores: set[int] = set()
        self.closed = False


current: contextvars.ContextVar[Touch | None] = contextvars.ContextVar("aerodrome_touch", default=None)


class Late:
    """What was written outside any request (timers, delivery threads): saved by the next sweep."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: set[Entry] = set()

    def add(self, entry: Entry) -> None:
        with self._lock:
            self._entries.add(entry)

    def take(self) -> set[Entry]:
        with self._lock:
            entries, self._entries = self._entries, set()
        return entries


late = Late()


def _read(entry: Entry) -> None:
    touch = current.get()
    if touch is None:
        return
    if touch.closed:
        late.add(entry)
    else:
        touch.entries.add(entry)


def _write(entry: Entry) -> None:
    touch = current.get()
    if touch is None or touch.closed:
        late.add(entry)
    else:
        touch.entries.add(entry)


class Tracked(dict[Any, Any]):
    """A dictionary that notes the keys that are read and written. `table` names it in an `Entry`."""

    __slots__ = ("table",)

    def __init__(self, table: str, content: Iterable[tuple[Any, Any]] = ()) -> None:
        super().__init__(content)
        self.table = table

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return dict, (dict(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[Any, Any]:
        raise TypeError(f"the table {self.table} is never copied as a whole")

    def __getitem__(self, key: Any) -> Any:
        _read((self.table, key))
        return super().__getitem__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        _read((self.table, key))
        return super().get(key, default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        _write((self.table, key))

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        _write((self.table, key))

    def pop(self, key: Any, *default: Any) -> Any:
        value = super().pop(key, *default)
        _write((self.table, key))
        return value

    def setdefault(self, key: Any, default: Any = None) -> Any:
        value = super().setdefault(key, default)
        _write((self.table, key))
        return value

    def update(self, *others: Any, **named: Any) -> None:
        for key, value in dict(*others, **named).items():
            self[key] = value

    def popitem(self) -> Any:
        key, value = super().popitem()
        _write((self.table, key))
        return key, value

    def clear(self) -> None:
        for key in list(self):
            del self[key]


_READERS = (
    "__getitem__",
    "get",
    "get_scoped",
    "values",
    "items",
    "values_scoped",
    "items_scoped",
    "all_values",
    "all_items",
)
_WRITERS = ("__setitem__", "__delitem__", "set_scoped", "pop_scoped", "pop", "setdefault", "update", "clear")


def watch_stores(scoped_types: Iterable[type]) -> None:
    """Make ministack's account-scoped dictionaries note, by identity, that they were read or written."""
    for scoped in scoped_types:
        for names, attribute in ((_READERS, "read_stores"), (_WRITERS, "written_stores")):
            for name in names:
                method = getattr(scoped, name, None)
                if method is not None:
                    setattr(scoped, name, _noting(method, attribute))


def _noting(method: Callable[..., Any], attribute: str) -> Callable[..., Any]:
    def noting(self: Any, *arguments: Any, **named: Any) -> Any:
        touch = current.get()
        if touch is not None and not touch.closed:
            getattr(touch, attribute).add(id(self))
        return method(self, *arguments, **named)

    return noting


class Owners:
    """Which service module a store belongs to. Modules come in one by one, so the map is made anew when one does.

    `apart` are stores that are tracked entry by entry and so belong to nobody here.
    """

    def __init__(self, scoped_types: tuple[type, ...], apart: Iterable[object] = ()) -> None:
        self._types = scoped_types
        self._apart = frozenset(id(store) for store in apart)
        self._seen = 0
        self._map: dict[int, set[str]] = {}

    def of(self, stores: Iterable[int]) -> set[str]:
        if len(sys.modules) != self._seen:
            self._seen = len(sys.modules)
            self._map = {}
            for name in [name for name in sys.modules if name.startswith("ministack.services.")]:
                service = name.split(".")[2]
                for value in list(vars(sys.modules[name]).values()):
                    if isinstance(value, self._types) and id(value) not in self._apart:
                        self._map.setdefault(id(value), set()).add(service)
        return set().union(*(self._map.get(store, set()) for store in stores))

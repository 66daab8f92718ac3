"""Every other service: ministack's own `get_state` and `load_persisted_state`, split into rows.

A service's state is a dictionary of stores. Each entry of a store is a row, compared by a digest with what is on
disk, so that a change of one secret writes one secret.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from .config import Refusal
from .disk import Change
from .pinned import Ministack
from .rows import Row, RowKey, encode

log = logging.getLogger("aerodrome.cloud")

_SERVICE = "service"
# Read by every request, to check its signature and to find its way; only writes mean a change.
_READ_BY_ALL = frozenset(
    {"alb", "apigateway", "apigateway_v1", "cloudfront", "cognito", "iam", "lambda_svc", "organizations", "sts"}
)


class Services:
    """The state of ministack's services."""

    def __init__(self, stack: Ministack) -> None:
        self._stack = stack
        self._known: dict[str, dict[RowKey, bytes]] = {}
        self.costs: dict[str, float] = {}  # seconds that the last look took
        stack.sts.get_state = self._sts_state
        stack.sts.load_persisted_state = lambda data: stack.sts._sessions.update(data["sessions"])

    def _sts_state(self) -> dict[str, Any]:
        """ministack forgets sessions; a running task must keep its credentials over a restart of the cloud."""
        now = time.time()
        sessions = dict(self._stack.sts._sessions)
        return {"sessions": {key: dict(s) for key, s in sessions.items() if s.get("Expiration", now + 1) > now}}

    @staticmethod
    def state_key(module: str) -> str:
        return "lambda" if module == "lambda_svc" else module

    def modules(self, service: str) -> set[str]:
        """The modules that serve it."""
        entry = self._stack.app.SERVICE_REGISTRY.get(service)
        return {entry["module"], *entry.get("sub_modules", ())} if entry else set()

    def loaded(self) -> set[str]:
        return set(self._stack.app._build_persistence_save_dict())

    @staticmethod
    def of_readers(services: Iterable[str]) -> set[str]:
        return set(services) - _READ_BY_ALL

    def collect(self, services: Iterable[str], change: Change) -> dict[str, dict[RowKey, bytes]]:
        """Add what changed in these services to the change; hand back what `settled` wants once it is on disk."""
        getters = self._stack.app._build_persistence_save_dict()
        looked: dict[str, dict[RowKey, bytes]] = {}
        for service in services:
            started = time.perf_counter()
            getter = getters.get(service)
            state = getter() if getter is not None else None
            if state is None:
                continue
            rows = {key: encode(value) for key, value in _flatten(service, state, self._stack.scoped_types)}
            digests = {key: hashlib.blake2b(value, digest_size=16).digest() for key, value in rows.items()}
            known = self._known.get(service, {})
            for key, digest in digests.items():
                if known.get(key) != digest:
                    change.rows[key] = Row(rows[key])
            for key in known.keys() - digests.keys():
                change.rows[key] = None
            looked[service] = digests
            self.costs[service] = time.perf_counter() - started
        return looked

    def settled(self, looked: Mapping[str, dict[RowKey, bytes]]) -> None:
        self._known.update(looked)

    def restore(self, rows: Mapping[RowKey, Any]) -> None:
        """Load what was saved.

        Raises:
            Refusal: a service doesn't take its state back; starting without it would lose it.
        """
        states: dict[str, dict[RowKey, Any]] = {}
        for key, value in rows.items():
            states.setdefault(key[1], {})[key] = value
            self._known.setdefault(key[1], {})[key] = hashlib.blake2b(encode(value), digest_size=16).digest()
        for service, module in self._stack.app._state_map.items():  # ministack's own order
            if service not in states:
                continue
            state = _unflatten(states[service], self._stack.scoped_types)
            try:
                self._stack.app._get_module(module).load_persisted_state(state)
            except Exception as error:  # whatever it is, going on would lose the state
                raise Refusal(
                    f"the saved state of {service} can't be restored: {error!r}. Nothing was changed"
                ) from error


def _flatten(service: str, state: Mapping[str, Any], scoped_types: tuple[type, type]) -> Iterable[tuple[RowKey, Any]]:
    for store, value in state.items():
        if isinstance(value, scoped_types):
            kind = "account" if isinstance(value, scoped_types[0]) else "region"
            yield (_SERVICE, service, store), (kind, None)
            for key, entry in value._data.items():  # type: ignore[attr-defined]
                yield (_SERVICE, service, store, key), entry
        elif type(value) is dict:
            yield (_SERVICE, service, store), ("dict", None)
            for key, entry in value.items():
                yield (_SERVICE, service, store, key), entry
        else:
            yield (_SERVICE, service, store), ("value", value)


def _unflatten(rows: Mapping[RowKey, Any], scoped_types: tuple[type, type]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    entries: dict[str, Any] = {}
    for key, value in rows.items():
        if len(key) == 3:
            kind, plain = value
            made = {"account": scoped_types[0], "region": scoped_types[1], "dict": dict}.get(kind)
            state[key[2]] = made() if made else plain
            if made:
                entries[key[2]] = state[key[2]] if kind == "dict" else state[key[2]]._data
    for key, value in rows.items():
        if len(key) == 4:
            entries[key[2]][key[3]] = value
    return state

"""Whom security groups let in to private web servers: read from EC2 again and again, kept while EC2 is away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from typing import Protocol

from aerodrome.domain.environment import Environment, EnvironmentKey
from aerodrome.domain.ingress import Ingress
from aerodrome.errors import AerodromeError
from aerodrome.store.ingress import IngressStore

log = logging.getLogger(__name__)


class Network(Protocol):
    async def ingress(self, key: EnvironmentKey, groups: Collection[str]) -> Ingress:
        """Raises Temporary: EC2 can't be asked now."""
        ...


class SecurityGroups:
    """The gateway's `Gate`. `port` is that of the private listeners, `interval` the age of rules in seconds at which
    they are read again.
    """

    def __init__(
        self,
        network: Network,
        store: IngressStore,
        *,
        port: int,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._network = network
        self._store = store
        self._port = port
        self._interval = interval
        self._clock = clock
        self._known: dict[str, Ingress] | None = None  # by environment id; None: not even what is stored
        self._read_at: dict[str, float] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}

    def admits(self, environment_id: str, client: str) -> bool:
        known = (self._known or {}).get(environment_id)
        return known is not None and known.admits(client, self._port)

    def groups(self, environment_id: str) -> tuple[str, ...]:
        known = (self._known or {}).get(environment_id)
        return known.groups if known else ()

    async def ensure(self, environment: Environment) -> str:
        """The rules of the environment's groups are in force, as old as `interval` or as EC2 is away.

        What a person should know of them comes back, or nothing. Groups that it names anew are read at once, others
        beside what goes on.

        Raises:
            Temporary: they were never read, and can't be now.
        """
        if self._known is None:
            self._known = await self._store.all()
        groups = tuple(sorted(environment.desired["NetworkConfiguration"]["SecurityGroupIds"]))
        known = self._known.get(environment.id)
        if known is None or known.groups != groups:
            known = await self._read(environment, groups)
        elif self._clock() - self._read_at.get(environment.id, -self._interval) >= self._interval:
            self._read_beside(environment, groups)
        return _note(known)

    async def drop(self, environment_id: str) -> None:
        task = self._reading.pop(environment_id, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._known is not None:
            self._known.pop(environment_id, None)
        self._read_at.pop(environment_id, None)
        await self._store.drop(environment_id)

    async def close(self) -> None:
        tasks = list(self._reading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, environment: Environment, groups: tuple[str, ...]) -> Ingress:
        found = await self._network.ingress(environment.key, groups)
        self._read_at[environment.id] = self._clock()
        known = self._known if self._known is not None else {}
        if known.get(environment.id) != found:
            await self._store.put(environment.id, found)
            known[environment.id] = found
            log.info("environment %s: %d inbound rules of %s", environment.id, len(found.rules), ", ".join(groups))
        self._known = known
        return found

    def _read_beside(self, environment: Environment, groups: tuple[str, ...]) -> None:
        if environment.id not in self._reading:
            task = asyncio.create_task(self._read_again(environment, groups), name="security groups")
            self._reading[environment.id] = task

    async def _read_again(self, environment: Environment, groups: tuple[str, ...]) -> None:
        try:
            await self._read(environment, groups)
        except AerodromeError as error:
            self._read_at[environment.id] = self._clock()  # not sooner than the others
            log.warning("environment %s: the rules of its security groups stay as they are: %s", environment.id, error)
        finally:
            self._reading.pop(environment.id, None)


def _note(known: Ingress) -> str:
    if known.missing:
        return f"Security groups of the private web server that aren't there let nobody in: {', '.join(known.missing)}"
    if not known.rules:
        return f"No inbound rule of {', '.join(known.groups)} lets anybody in to the private web server"
    return ""

"""Connections to web servers: a pool per environment, so that a stuck one can't starve the others."""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpcore

from aerodrome.gateway.ports import Limits, Route

# Shorter than a web server keeps idle connections, so that we rarely write to one that it is closing.
_IDLE_SECONDS = 4.0
# What any exchange may end with: the connection, the time it took, or what was said on it.
BROKEN_OFF = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})


class Away(Exception):
    """No web server of the environment takes a connection now."""


class Broken(Exception):
    """A web server took the request and then failed to answer it."""


@dataclass(slots=True)
class _Pool:
    connections: httpcore.AsyncConnectionPool
    turn: itertools.count[int] = field(default_factory=itertools.count)


class Upstreams:
    """Sends requests as they are: the target's bytes untouched, no cookie jar, no redirects, no decoding.

    That is why it speaks to httpcore, and because a client around that costs as much again for every request.
    """

    def __init__(self, limits: Limits) -> None:
        # It logs every response header when debugging is on: Set-Cookie too.
        logging.getLogger("httpcore.http11").setLevel(logging.INFO)
        self._limits = limits
        self._timeout: dict[str, float | None] = {
            "connect": limits.connect,
            "pool": limits.pool,
            "write": limits.body_idle,
            "read": None,
        }
        self._pools: dict[str, _Pool] = {}

    async def send(
        self,
        route: Route,
        method: str,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        body: AsyncIterator[bytes] | None = None,
    ) -> httpcore.Response:
        """The response with its body unread (`aiter_stream`); the caller closes it.

        Web servers take turns; one that refuses the connection is passed over. Reading has no time limit: task logs
        stream for as long as their task runs.

        Raises:
            Away, Broken.
        """
        pool = self._pool(route.environment_id)
        start = next(pool.turn)
        count = len(route.upstreams)
        for attempt in range(count):
            address = route.upstreams[(start + attempt) % count]
            try:
                return await self._try(pool.connections, address, method, target, headers, body)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
            except httpcore.PoolTimeout as error:
                raise Away("All connections are in use.") from error
            except BROKEN_OFF as error:
                raise Broken(f"{type(error).__name__}: {error}") from error
        raise Away("No web server answers.")

    async def _try(
        self,
        connections: httpcore.AsyncConnectionPool,
        address: str,
        method: str,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        body: AsyncIterator[bytes] | None,
    ) -> httpcore.Response:
        try:
            return await connections.handle_async_request(self._request(address, method, target, headers, body))
        except (httpcore.RemoteProtocolError, httpcore.ReadError, httpcore.WriteError):
            if body is not None or method not in _REPEATABLE:
                raise
            # The web server closed an idle connection just as we used it; a second one is fresh.
            return await connections.handle_async_request(self._request(address, method, target, headers, None))

    def _request(
        self,
        address: str,
        method: str,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        body: AsyncIterator[bytes] | None,
    ) -> httpcore.Request:
        host, _, port = address.rpartition(":")
        return httpcore.Request(
            method,
            httpcore.URL(scheme=b"http", host=host.encode(), port=int(port), target=target),
            headers=headers,
            content=b"" if body is None else body,
            extensions={"timeout": self._timeout},
        )

    def _pool(self, environment_id: str) -> _Pool:
        pool = self._pools.get(environment_id)
        if pool is None:
            most = self._limits.upstream_connections
            connections = httpcore.AsyncConnectionPool(
                max_connections=most, max_keepalive_connections=most // 4, keepalive_expiry=_IDLE_SECONDS
            )
            pool = _Pool(connections)
            self._pools[environment_id] = pool
        return pool

    async def forget(self, environment_id: str) -> None:
        """Close all connections to the environment's web servers; absent is success."""
        pool = self._pools.pop(environment_id, None)
        if pool:
            await pool.connections.aclose()

    async def stop(self) -> None:
        for environment_id in list(self._pools):
            await self.forget(environment_id)

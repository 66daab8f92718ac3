"""Connections to web servers: a pool per environment, so that a stuck one can't starve the others."""

from __future__ import annotations

import itertools
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import httpx

from aerodrome.gateway.ports import Limits, Route

# Shorter than a web server keeps idle connections, so that we rarely write to one that it is closing.
_IDLE_SECONDS = 4.0
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})


class Away(Exception):
    """No web server of the environment takes a connection now."""


class Broken(Exception):
    """A web server took the request and then failed to answer it."""


@dataclass(slots=True)
class _Pool:
    transport: httpx.AsyncHTTPTransport
    turn: itertools.count[int] = field(default_factory=itertools.count)


class _Body(httpx.AsyncByteStream):
    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks


class Upstreams:
    """Sends requests as they are: the target's bytes untouched, no cookie jar, no redirects, no decoding.

    That is why it speaks to httpx's transport and not to its client.
    """

    def __init__(self, limits: Limits) -> None:
        # It logs every response header when debugging is on: Set-Cookie too.
        logging.getLogger("httpcore.http11").setLevel(logging.INFO)
        self._limits = limits
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused, spares httpx from loading public roots
        self._pools: dict[str, _Pool] = {}

    async def send(
        self,
        route: Route,
        method: str,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        body: AsyncIterator[bytes] | None = None,
    ) -> httpx.Response:
        """The response with its body unread (`response.stream`); the caller closes it.

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
                return await self._try(pool.transport, address, method, target, headers, body)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
            except httpx.PoolTimeout as error:
                raise Away("All connections are in use.") from error
            except httpx.TransportError as error:
                raise Broken(f"{type(error).__name__}: {error}") from error
        raise Away("No web server answers.")

    async def _try(
        self,
        transport: httpx.AsyncHTTPTransport,
        address: str,
        method: str,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        body: AsyncIterator[bytes] | None,
    ) -> httpx.Response:
        try:
            return await transport.handle_async_request(self._request(address, method, target, headers, body))
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if body is not None or method not in _REPEATABLE:
                raise
            # The web server closed an idle connection just as we used it; a second one is fresh.
            return await transport.handle_async_request(self._request(address, method, target, headers, None))

    def _request(
        self,
        address: str,
        method: str,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        body: AsyncIterator[bytes] | None,
    ) -> httpx.Request:
        timeout: Mapping[str, float | None] = {
            "connect": self._limits.connect,
            "pool": self._limits.pool,
            "write": self._limits.body_idle,
            "read": None,
        }
        return httpx.Request(
            method,
            f"http://{address}/",
            headers=headers,
            stream=httpx.ByteStream(b"") if body is None else _Body(body),
            extensions={"target": target, "timeout": dict(timeout)},
        )

    def _pool(self, environment_id: str) -> _Pool:
        pool = self._pools.get(environment_id)
        if pool is None:
            limits = httpx.Limits(
                max_connections=self._limits.upstream_connections,
                max_keepalive_connections=self._limits.upstream_connections // 4,
                keepalive_expiry=_IDLE_SECONDS,
            )
            pool = _Pool(httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=limits))
            self._pools[environment_id] = pool
        return pool

    async def forget(self, environment_id: str) -> None:
        """Close all connections to the environment's web servers; absent is success."""
        pool = self._pools.pop(environment_id, None)
        if pool:
            await pool.transport.aclose()

    async def stop(self) -> None:
        for environment_id in list(self._pools):
            await self.forget(environment_id)

"""The gateway as the composition root sees it: start, routes in and out, stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from aerodrome.errors import Temporary
from aerodrome.gateway.app import GatewayApp
from aerodrome.gateway.listeners import Listeners
from aerodrome.gateway.ports import Backstage, Certificate, Route
from aerodrome.gateway.tls import Contexts, names_of

log = logging.getLogger("aerodrome.gateway")

_GRACE = 5.0  # seconds for responses under way when a listener closes


class Gateway:
    """A TLS reverse proxy in front of every environment's web server, on the running event loop.

    `bind` is the shared listener's address (`name` mode: environments told apart by SNI and Host); None: there is
    none, every route brings an `address` of its own (`address` mode). All listeners use `port` (0: any, for tests).
    """

    def __init__(self, *, port: int, bind: str | None, certificate: Certificate, backstage: Backstage) -> None:
        self._bind = bind
        self._routes: dict[str, Route] = {}  # by environment id
        self._by_host: dict[str, Route] = {}  # by host name or address, without the port
        self._contexts = Contexts(certificate)
        self.app = GatewayApp(backstage, self._by_host)
        self._listeners = Listeners(self.app, port, backstage.limits)
        self._lock = asyncio.Lock()

    @property
    def routes(self) -> dict[str, Route]:
        """A copy of the routes that are served, by environment id."""
        return dict(self._routes)

    def port(self, address: str) -> int:
        """The port bound at the address (KeyError: none is)."""
        return self._listeners.port(address)

    async def start(self) -> None:
        """Open the shared listener, if there is to be one. May be repeated.

        Raises:
            Temporary: its address can't be bound or its certificate can't be issued now.
        """
        async with self._lock:
            if self._bind is not None:
                await self._listeners.ensure(self._bind, await self._contexts.shared(self._bind))

    async def add(self, route: Route) -> None:
        """Serve the route, in place of the environment's former one. Idempotent; also loads a renewed certificate.

        Raises:
            Temporary: its address can't be bound or its certificate can't be issued now; the former route stays.
        """
        async with self._lock:
            await self._add(route)

    async def remove(self, environment_id: str) -> None:
        """Serve the environment no more; absent is success. Responses under way get a few seconds to end."""
        async with self._lock:
            await self._remove(environment_id)

    async def sync(self, routes: Iterable[Route]) -> None:
        """Serve exactly these routes: add what is missing, repoint what changed, remove what is stale.

        Raises:
            Temporary: some routes can't be served now (the message names them); all others are.
        """
        wanted = {route.environment_id: route for route in routes}
        failures: list[str] = []
        async with self._lock:
            for environment_id in self._routes.keys() - wanted.keys():
                await self._remove(environment_id)
            for route in wanted.values():
                try:
                    await self._add(route)
                except Temporary as error:
                    failures.append(f"{route.key.name}: {error}")
        if failures:
            raise Temporary(f"{len(failures)} web server route(s) can't be served now. " + " ".join(failures))

    async def stop(self, grace: float = _GRACE) -> None:
        """Close every listener and every connection; `grace` in seconds for responses under way."""
        async with self._lock:
            await self._listeners.stop(grace)
            await self.app.upstreams.stop()
            await self.app.sign_in_upstreams.stop()
            self._routes.clear()
            self._by_host.clear()

    async def _add(self, route: Route) -> None:
        former = self._routes.get(route.environment_id)
        context = await self._contexts.ensure(route)
        if route.address:
            await self._listeners.ensure(route.address, context)
        if former == route:
            return
        if former and former.address and former.address != route.address:
            await self._listeners.remove(former.address, _GRACE)
        self._forget_hosts(route.environment_id)
        self._routes[route.environment_id] = route
        names, addresses = names_of(route)
        self._by_host.update(dict.fromkeys([*names, *addresses], route))
        log.info("environment %s: https://%s leads to %s", route.environment_id, route.host, list(route.upstreams))

    async def _remove(self, environment_id: str) -> None:
        route = self._routes.pop(environment_id, None)
        if route is None:
            return
        self._forget_hosts(environment_id)
        self._contexts.forget(environment_id)
        if route.address:
            await self._listeners.remove(route.address, _GRACE)
        await self.app.upstreams.forget(environment_id)
        await self.app.sign_in_upstreams.forget(environment_id)
        log.info("environment %s: https://%s leads nowhere now", environment_id, route.host)

    def _forget_hosts(self, environment_id: str) -> None:
        for host in [host for host, route in self._by_host.items() if route.environment_id == environment_id]:
            del self._by_host[host]

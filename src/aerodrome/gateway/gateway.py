"""The gateway as the composition root sees it: start, routes in and out, stop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from aerodrome.domain.web_server import Side
from aerodrome.errors import Temporary
from aerodrome.gateway.app import GatewayApp
from aerodrome.gateway.entrance import GRACE, Entrance
from aerodrome.gateway.ports import Backstage, Certificate, Opening, Route
from aerodrome.web.crowd import Crowd, affordable


class Gateway:
    """A TLS reverse proxy in front of every environment's web server, on the running event loop.

    It has a public side (`port`, `bind`: as in `Opening`) and, with `private`, a private one, each with listeners of
    its own. An environment has a route on each side that its access mode opens.
    """

    def __init__(
        self,
        *,
        port: int,
        bind: str | None,
        certificate: Certificate,
        backstage: Backstage,
        private: Opening | None = None,
    ) -> None:
        self.app = GatewayApp(backstage)
        openings = {Side.PUBLIC: Opening(port, bind)} | ({Side.PRIVATE: private} if private else {})
        crowd = Crowd(affordable(backstage.limits.connections))
        self._entrances = {
            side: Entrance(opening, certificate, lambda each: partial(self.app, each), backstage.limits, crowd)
            for side, opening in openings.items()
        }
        self._lock = asyncio.Lock()

    @property
    def routes(self) -> dict[str, tuple[Route, ...]]:
        """A copy of the routes that are served, by environment id, the public one first."""
        served = [entrance.routes for entrance in self._entrances.values()]
        ids = {environment_id: None for routes in served for environment_id in routes}
        return {each: tuple(routes[each] for routes in served if each in routes) for each in ids}

    def port(self, address: str, side: Side = Side.PUBLIC) -> int:
        """The port bound at the address (KeyError: none is)."""
        return self._entrances[side].port(address)

    async def start(self) -> None:
        """Open the shared listeners, where there are to be any; also loads their renewed certificates: ask daily.

        Raises:
            Temporary: an address can't be bound or a certificate can't be issued now.
        """
        async with self._lock:
            for entrance in self._entrances.values():
                await entrance.open()

    async def add(self, *routes: Route) -> None:
        """Serve the routes, each in place of the environment's former one on its side. Idempotent; also loads a renewed
        certificate.

        Raises:
            Temporary: an address can't be bound or a certificate can't be issued now; the former route stays.
        """
        async with self._lock:
            for route in routes:
                await self._entrances[route.side].add(route)

    async def remove(self, environment_id: str, *sides: Side) -> None:
        """Serve the environment no more, or not on these sides; absent is success. Responses under way get a few
        seconds to end.
        """
        async with self._lock:
            await self._remove(environment_id, sides or tuple(Side))

    async def sync(self, routes: Iterable[Route]) -> None:
        """Serve exactly these routes: add what is missing, repoint what changed, remove what is stale.

        Raises:
            Temporary: some routes can't be served now (the message names them); all others are.
        """
        wanted = {(route.side, route.environment_id): route for route in routes}
        failures: list[str] = []
        async with self._lock:
            for side, entrance in self._entrances.items():
                for environment_id in entrance.routes:
                    if (side, environment_id) not in wanted:
                        await self._remove(environment_id, (side,))
            for route in wanted.values():
                try:
                    await self._entrances[route.side].add(route)
                except Temporary as error:
                    failures.append(f"{route.key.name}: {error}")
        if failures:
            raise Temporary(f"{len(failures)} web server route(s) can't be served now. " + " ".join(failures))

    async def stop(self, grace: float = GRACE) -> None:
        """Close every listener and every connection; `grace` in seconds for responses under way."""
        async with self._lock:
            await asyncio.gather(*(entrance.stop(grace) for entrance in self._entrances.values()))
            await self.app.upstreams.stop()
            await self.app.sign_in_upstreams.stop()

    async def _remove(self, environment_id: str, sides: Iterable[Side]) -> None:
        known = environment_id in self.routes
        for side in sides:
            if side in self._entrances:
                await self._entrances[side].remove(environment_id)
        if known and environment_id not in self.routes:
            await self.app.upstreams.forget(environment_id)
            await self.app.sign_in_upstreams.forget(environment_id)

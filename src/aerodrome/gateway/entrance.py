"""One side of the gateway: the routes that it serves, their listeners and certificates, and who is let in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

from starlette.types import ASGIApp, Scope

from aerodrome.gateway.listeners import Listeners
from aerodrome.gateway.ports import Certificate, Limits, Opening, Route
from aerodrome.gateway.tls import Contexts, names_of
from aerodrome.web.crowd import Crowd

log = logging.getLogger("aerodrome.gateway")

GRACE = 5.0  # seconds for responses under way when a listener closes
_SILENCE = 60.0  # seconds between two lines of the log about the same client


class Entrance:
    """Not for several tasks at once: `Gateway` has the lock. `app` makes the application that serves an entrance."""

    def __init__(
        self,
        opening: Opening,
        certificate: Certificate,
        app: Callable[[Entrance], ASGIApp],
        limits: Limits,
        crowd: Crowd,
    ) -> None:
        self._opening = opening
        self._routes: dict[str, Route] = {}  # by environment id
        self._by_host: dict[str, Route] = {}  # by host name or address, without the port
        self._contexts = Contexts(certificate)
        self._listeners = Listeners(app(self), opening.port, limits, crowd)
        self._told: dict[tuple[str, str], float] = {}

    @property
    def routes(self) -> dict[str, Route]:
        """A copy of the routes that are served, by environment id."""
        return dict(self._routes)

    def port(self, address: str) -> int:
        """The port bound at the address (KeyError: none is)."""
        return self._listeners.port(address)

    def route(self, name: str) -> Route | None:
        """The route of a host name or address; None: as far as this side goes, there is none."""
        return self._by_host.get(name)

    def is_misdirected(self, route: Route, name: str, scope: Scope) -> bool:
        """Whether the request came to a listener, or to a name in TLS, that isn't its Host's."""
        if route.address and (scope.get("server") or ("",))[0] != route.address:
            return True
        asked = self._contexts.asked(scope.get("state", {}).get("tls"))
        return bool(asked) and asked != name

    def admits(self, environment_id: str, client: str) -> bool:
        """Whether the environment's security groups let the client in; a refusal is logged, once a minute."""
        gate = self._opening.gate
        if gate is None or gate.admits(environment_id, client):
            return True
        self._tell(environment_id, client, ", ".join(gate.groups(environment_id)) or "none that is known")
        return False

    def refusal(self, route: Route) -> str:
        """For the client that was refused."""
        gate = self._opening.gate
        groups = ", ".join(gate.groups(route.environment_id)) if gate else ""
        return f"No inbound rule of the environment's security groups ({groups}) lets you in to its web server."

    async def open(self) -> None:
        """Open the shared listener, if there is to be one, or load its renewed certificate. May be repeated.

        Raises:
            Temporary: its address can't be bound or its certificate can't be issued now.
        """
        bind = self._opening.bind
        if bind is not None:
            context = await self._contexts.shared(bind)
            await self._listeners.ensure(bind, context, self._any_admits if self._opening.gate else None)

    async def add(self, route: Route) -> None:
        """Serve the route, in place of the environment's former one. Idempotent; also loads a renewed certificate.

        Raises:
            Temporary: its address can't be bound or its certificate can't be issued now; the former route stays.
        """
        former = self._routes.get(route.environment_id)
        context = await self._contexts.ensure(route)
        if route.address:
            await self._listeners.ensure(route.address, context, self._screen(route.environment_id))
        if former == route:
            return
        if former and former.address and former.address != route.address:
            await self._listeners.remove(former.address, GRACE)
        self._forget_hosts(route.environment_id)
        self._routes[route.environment_id] = route
        names, addresses = names_of(route)
        self._by_host.update(dict.fromkeys([*names, *addresses], route))
        log.info("environment %s: https://%s leads to %s", route.environment_id, route.host, list(route.upstreams))

    async def remove(self, environment_id: str) -> None:
        """Serve the environment no more; absent is success. Responses under way get a few seconds to end."""
        route = self._routes.pop(environment_id, None)
        if route is None:
            return
        self._forget_hosts(environment_id)
        self._contexts.forget(environment_id)
        if route.address:
            await self._listeners.remove(route.address, GRACE)
        log.info("environment %s: https://%s leads nowhere now", environment_id, route.host)

    async def stop(self, grace: float) -> None:
        await self._listeners.stop(grace)
        self._routes.clear()
        self._by_host.clear()

    def _screen(self, environment_id: str) -> Callable[[str], bool] | None:
        return partial(self.admits, environment_id) if self._opening.gate else None

    def _any_admits(self, client: str) -> bool:
        """On a shared listener, before TLS tells which environment is meant."""
        gate = self._opening.gate
        if gate is None or any(gate.admits(each, client) for each in self._routes):
            return True
        self._tell("any", client, "of every environment")
        return False

    def _tell(self, environment_id: str, client: str, groups: str) -> None:
        now = time.monotonic()
        if now - self._told.get((environment_id, client), -_SILENCE) < _SILENCE:
            return
        self._told = {key: at for key, at in self._told.items() if now - at < _SILENCE}
        self._told[environment_id, client] = now
        log.warning("environment %s: %s is refused by its security groups (%s)", environment_id, client, groups)

    def _forget_hosts(self, environment_id: str) -> None:
        for host in [host for host, route in self._by_host.items() if route.environment_id == environment_id]:
            del self._by_host[host]

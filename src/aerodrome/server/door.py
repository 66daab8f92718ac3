"""What the gateway asks of the store and of the backend: the parts that `gateway.ports` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aerodrome.backends.base import Backend
from aerodrome.domain import versions
from aerodrome.domain.component import ComponentState, Output
from aerodrome.domain.environment import Environment
from aerodrome.domain.plan import Plan, in_free_names
from aerodrome.domain.sign_in import takes_part
from aerodrome.domain.update import in_force
from aerodrome.domain.web_server import Side, host_on, private_name, sides
from aerodrome.errors import Permanent, Temporary
from aerodrome.gateway.gateway import Gateway
from aerodrome.gateway.ports import Route
from aerodrome.server.security_groups import SecurityGroups
from aerodrome.server.world import RuntimePlanner, web_addresses
from aerodrome.store.environments import EnvironmentStore


class Door:
    """Environments for the gateway, and its routes for the reconciler."""

    def __init__(
        self,
        store: EnvironmentStore,
        backend: Backend,
        planner: RuntimePlanner,
        *,
        by_address: bool,
        private_port: int = 443,
        issuer: str | None = None,
    ) -> None:
        self._store = store
        self._backend = backend
        self._planner = planner
        self._by_address = by_address
        self._private_port = private_port
        self._issuer = issuer  # of the identity provider, if there is one

    async def identity_secret(self, environment_id: str) -> bytes:
        secrets = await self._store.secrets(environment_id)
        if secrets is None:
            raise Temporary("The environment is being deleted.")
        return secrets.identity_secret.encode()

    async def run_cli(self, environment_id: str, argv: Sequence[str], timeout: float) -> Output:
        environment = await self._store.by_id(environment_id)
        secrets = await self._store.secrets(environment_id)
        if environment is None or secrets is None:
            raise Permanent("The environment is being deleted.")
        plan = self._planner.plan(in_force(environment), secrets)
        try:
            return await self._backend.airflow(environment_id, plan.tool, argv, timeout=timeout)
        except Temporary as error:
            raise TimeoutError(str(error)) from error

    async def web_servers(self, environment: Environment) -> list[str]:
        secrets = await self._store.secrets(environment.id)
        if secrets is None:
            return []
        observed = await self._backend.observe(environment.id)
        plan = in_free_names(self._planner.plan(environment, secrets), observed)
        return web_addresses(environment, plan, observed)

    def route(self, environment: Environment, side: Side, address: str, upstreams: Sequence[str]) -> Route:
        """`address`: the environment's own one on the public side."""
        if side is Side.PRIVATE:
            address = private_name(address)
        version = versions.get(environment.desired["AirflowVersion"])
        return Route(
            environment_id=environment.id,
            key=environment.key,
            host=host_on(side, environment.host, self._private_port),
            upstreams=tuple(upstreams),
            login_path=version.login_path,
            cookie_name=version.cookie,
            airflow_major=int(version.version.split(".", 1)[0]),
            address=address if self._by_address else None,
            side=side,
            base_host=environment.host,
            issuer=self._issuer if takes_part(in_force(environment).desired, self._issuer) else None,
        )


class GatewayRoutes:
    """The reconciler's `Routes`: one route for each side that is open, repaired on every pass."""

    def __init__(self, gateway: Gateway, store: EnvironmentStore, door: Door, groups: SecurityGroups) -> None:
        self._gateway = gateway
        self._store = store
        self._door = door
        self._groups = groups

    async def ensure(self, environment: Environment, plan: Plan, observed: Mapping[str, ComponentState]) -> str:
        """What is about to be closed is closed last: between the modes a web server is reached by both."""
        now = in_force(environment)
        address = (await self._store.addresses()).get(environment.id, "127.0.0.1")
        upstreams, opened, note = web_addresses(environment, plan, observed), sides(now.desired), ""
        for side in opened:
            if side is Side.PRIVATE:
                note = await self._groups.ensure(now)
            await self._gateway.add(self._door.route(now, side, address, upstreams))
        closed = [side for side in Side if side not in opened]
        if closed:
            await self._gateway.remove(environment.id, *closed)
        return note

    async def drop(self, environment_id: str) -> None:
        await self._gateway.remove(environment_id)
        await self._groups.drop(environment_id)

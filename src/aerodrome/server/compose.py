"""Putting the control plane together, and running its parts until one of them ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.applications import Starlette

from aerodrome.api.airflow_session import AirflowSessions
from aerodrome.api.app import FrontDoor
from aerodrome.api.call import fold
from aerodrome.api.context import Context
from aerodrome.api.credentials import credential_routes
from aerodrome.api.middleware import build_middleware, build_operation
from aerodrome.api.sessions import build_own_calls
from aerodrome.api.throttle import Throttle
from aerodrome.aws.clients import AwsClients
from aerodrome.aws.cloud import CloudSocket
from aerodrome.aws.kms import own_kms
from aerodrome.aws.network import Network
from aerodrome.backends.kept_logs import KeptLogs
from aerodrome.backends.local import LocalBackend
from aerodrome.content.credentials import RoleCredentials
from aerodrome.content.loop import ContentLoop, Source, source_of
from aerodrome.content.sync import ContentSync
from aerodrome.domain.lifecycle import GOALS, Goal
from aerodrome.domain.plan import Site
from aerodrome.domain.principal import Credentials
from aerodrome.domain.versions import DEFAULT_VERSION
from aerodrome.errors import Permanent, Temporary
from aerodrome.gateway.gateway import Gateway
from aerodrome.gateway.hosts import loopback_address
from aerodrome.gateway.ports import Backstage
from aerodrome.identity import Verifier
from aerodrome.identity.standing import Standing
from aerodrome.layout import Layout
from aerodrome.machineroom import users
from aerodrome.machineroom.broker import ValkeyBroker
from aerodrome.machineroom.draining import is_draining
from aerodrome.machineroom.installation import Installation
from aerodrome.observe.health import HealthChecks
from aerodrome.reconcile.loop import Loop
from aerodrome.reconcile.ports import Services
from aerodrome.reconcile.reconciler import Reconciler
from aerodrome.relay import Relay
from aerodrome.server.callers import callers
from aerodrome.server.door import Door, GatewayRoutes
from aerodrome.server.execution_roles import ExecutionRoles
from aerodrome.server.objects import BucketObjects
from aerodrome.server.oidc import open_oidc
from aerodrome.server.own_identity import roles, service_identity
from aerodrome.server.reception import Reception
from aerodrome.server.web_servers import open_gateway, renew
from aerodrome.server.world import (
    BucketContent,
    CustomerEndpoints,
    EventJournal,
    MetadataDatabases,
    RuntimeJobs,
    RuntimePlanner,
)
from aerodrome.settings import Settings
from aerodrome.store.access_keys import AccessKeyStore
from aerodrome.store.data_keys import KeyRing
from aerodrome.store.database import create_database, migrate, open_pool
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.events import EventStore
from aerodrome.store.rekeying import rekey_old
from aerodrome.store.sessions import SessionStore
from aerodrome.store.tokens import TokenStore
from aerodrome.supervision import Supervisor, sandbox
from aerodrome.vault import MasterKeyFiles, Vault
from aerodrome.web.crowd import Crowd, affordable
from aerodrome.web.limits import ConnectionLimits
from aerodrome.web.listener import Listener
from aerodrome.web.protocol import Fast
from aerodrome.wire import Wire

log = logging.getLogger(__name__)

_SWEEP = 300.0  # seconds between two sweeps of expired tokens
_DRAINING = 2.0  # seconds between two looks whether we may start things again
_THREADS = 32  # for library calls that block: one slow S3 must not use them all up
_GRACE = 5.0  # seconds that requests under way get at a stop
# What one client can hold of the front door before we know who it is.
_FRONT = ConnectionLimits(keep_alive=65, send_idle=60.0)


@dataclass(slots=True)
class ControlPlane:
    """The parts that run."""

    app: FrontDoor
    loop: Loop
    content: ContentLoop
    gateway: Gateway
    tokens: TokenStore
    keys: AccessKeyStore
    sessions: SessionStore
    events: EventStore
    healthy: bool = False


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def compose(
    layout: Layout,
    installation: Installation,
    settings: Settings,
    endpoints: Mapping[str, str],
    registry: Mapping[str, str],
) -> AsyncIterator[ControlPlane]:
    """Everything wired, nothing running yet but the pools and the gateway's listener.

    `endpoints`: upper-case service -> URL of a real service; `registry`: variables for jobs that install packages.
    """
    async with AsyncExitStack() as stack:
        server_url = installation.postgres_url
        database_url = await create_database(server_url)
        for name in await migrate(database_url):
            log.info("migration %s applied", name)
        pool = await stack.enter_async_context(open_pool(database_url))
        vault = Vault(MasterKeyFiles(layout))
        clients = AwsClients({"": f"http://127.0.0.1:{installation.cloud_port}", **endpoints})
        kms = own_kms(clients, endpoints, settings.aws_access_key_id, settings.aws_secret_access_key)
        keys = KeyRing(vault, kms)
        for environment_id in await rekey_old(pool, keys):
            log.info("environment %s has a data key of its own now", environment_id)
        store, events, tokens = EnvironmentStore(pool, keys), EventStore(pool), TokenStore(pool)
        signed_in = SessionStore(pool)
        # Connections of its own, so that the reconciler gets on however many ask.
        working_pool = await stack.enter_async_context(open_pool(database_url, read_soon=False))
        working_store, working_events = EnvironmentStore(working_pool, keys), EventStore(working_pool)

        is_root = os.geteuid() == 0
        cloud = CloudSocket(layout.cloud_socket)

        role_source = roles(cloud, clients, settings, endpoints)
        credentials = RoleCredentials(role_source)

        network = Network(clients, service_identity(cloud, settings, endpoints))

        def s3_client(role: Credentials, region: str) -> Any:
            return clients.client("s3", region, role)

        backend = LocalBackend(layout, Supervisor(layout, installation.supervisor_password), installation.id)
        stack.push_async_callback(backend.close)
        confined, why = await asyncio.to_thread(sandbox.decide, settings.sandbox)
        if not confined:
            log.warning("environments aren't confined: %s", why)
        site = _site(layout, installation, endpoints, confined=confined)
        planner = RuntimePlanner(site, as_other_user=is_root)
        await asyncio.to_thread(planner.runtime, DEFAULT_VERSION)  # looks for a Python: not inside a request
        sessions = AirflowSessions()
        principals, sts = await callers(layout, installation, pool, vault, cloud, now)
        oidc = await stack.enter_async_context(open_oidc(settings.identity_provider(), layout.master_key.read_bytes()))
        private_port = installation.private_port
        by_address = installation.web_host == "address"
        door = Door(store, backend, planner, by_address=by_address, private_port=private_port, issuer=oidc.issuer)
        standing = Standing(principals, now, people=oidc.people)
        reception = Reception(store, tokens, signed_in, standing, sessions, now, oidc.people)
        backstage = Backstage(reception, reception, door, now, oidc=oidc.pages_for(reception))
        gateway, groups = await open_gateway(stack, layout, installation, settings, network, working_pool, backstage)
        sync = ContentSync(layout)
        stack.callback(sync.close)
        content = ContentLoop(
            sync, partial(_sources, working_store), credentials, s3_client, interval=settings.sync_interval
        )
        objects = BucketObjects(layout, installation.id, planner, credentials, s3_client, confined=confined)
        stack.push_async_callback(objects.close)
        services = Services(
            backend=backend,
            runtimes=RuntimeJobs(
                layout,
                server_url,
                user=users.names(installation.id)[0] if is_root else None,
                variables={**registry, **installation.postgres_variables},
                planner=planner,
            ),
            databases=MetadataDatabases(server_url),
            brokers=ValkeyBroker(installation.valkey_url),
            content=BucketContent(content, layout, credentials),
            objects=objects,
            routes=GatewayRoutes(gateway, working_store, door, groups),
            health=HealthChecks(installation.valkey_url, installation.postgres_url.rpartition("@")[2]),
            endpoints=CustomerEndpoints(network),
            logs=KeptLogs(layout, installation.id, wanted=settings.keep_logs),
        )
        reconciler = Reconciler(
            working_store,
            planner,
            services,
            EventJournal(working_events),
            now=now,
            create_timeout=settings.create_timeout,
        )

        async def reconcile(environment_id: str) -> float | None:
            # `aerodrome down` drains the workers while we still serve them: what ends now must stay ended.
            return _DRAINING if is_draining(layout) else await reconciler.reconcile(environment_id)

        loop = Loop(reconcile, working_store.ids, scan_interval=settings.scan_interval)

        context = Context(
            store=store,
            events=events,
            tokens=tokens,
            signed_in=signed_in,
            vault=vault,
            roles=role_source,
            s3_client=s3_client,
            network=network,
            upstreams=door,
            sessions=sessions,
            rest_throttle=Throttle(settings.rest_api_rate),
            poke=loop.poke,
            now=now,
            loopback_address=loopback_address,
            gateway_port=installation.gateway_port,
            web_host=installation.web_host,
            strict=settings.strict,
            has_service_role=None if "STS" in endpoints else cloud.has_service_role,
            list_readable_only=settings.list_readable_only,
            private_port=private_port,
            web_domain=settings.web_domain,
            issuer=oidc.issuer,
            kms=kms,
        )
        wire = Wire("mwaa", {"RestApiPath": settings.longest_rest_api_path})
        verifier = Verifier(principals, now)
        execution_roles = ExecutionRoles(store, events)
        own = Starlette(routes=credential_routes(execution_roles.holder, credentials, execution_roles.tell))
        middleware = build_middleware(wire, verifier)
        relay = Relay("127.0.0.1", installation.cloud_port)
        stack.push_async_callback(relay.close)
        plane = ControlPlane(
            app=FrontDoor(
                own=own,
                mwaa=fold(middleware, build_operation(wire, context)),
                history=fold(middleware[:-1], build_own_calls(context)),  # all but the routing of MWAA's operations
                wire=wire,
                cloud=relay,
                healthy=lambda: plane.healthy,
                writes=content,
                sts=sts,
            ),
            loop=loop,
            content=content,
            gateway=gateway,
            tokens=tokens,
            keys=AccessKeyStore(pool, vault),
            sessions=signed_in,
            events=events,
        )
        yield plane


async def run(
    layout: Layout,
    installation: Installation,
    settings: Settings,
    endpoints: Mapping[str, str],
    registry: Mapping[str, str],
) -> None:
    """Serve until SIGTERM or SIGINT. Environments go on without us."""
    stopping = asyncio.Event()
    running = asyncio.get_running_loop()
    running.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="blocking"))
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stopping.set)
    async with compose(layout, installation, settings, endpoints, registry) as plane:
        crowd = Crowd(affordable(_FRONT.connections))
        fronts = [Listener(plane.app, each, _FRONT, crowd, protocol=Fast) for each in _listen(installation)]
        for front in fronts:
            front.start()
        tasks = {
            asyncio.create_task(plane.loop.run(), name="reconcile"),
            asyncio.create_task(plane.content.run(), name="content"),
            asyncio.create_task(_sweep(plane), name="sweep"),
            asyncio.create_task(renew(plane.gateway), name="renew"),
            asyncio.create_task(stopping.wait(), name="stop"),
        }
        gc.collect()
        gc.freeze()  # what was imported and made until here stays: not to be looked through again and again
        plane.healthy = True
        log.info("serving on %s", installation.endpoint)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        plane.healthy = False
        for task in tasks - done:
            task.cancel()
        await asyncio.gather(*tasks, *(front.stop(_GRACE) for front in fronts), return_exceptions=True)
        for task in done:
            if task.get_name() != "stop":
                log.error("the part %r ended by itself; the control plane ends with it", task.get_name())
                task.result()


def _listen(installation: Installation) -> list[socket.socket]:
    """Sockets of the front door: loopback always, since components use it, and the address that was asked for.

    Raises:
        Permanent: one of them can't be bound.
    """
    if installation.bind in ("0.0.0.0", "::"):  # noqa: S104 - every address, as the user asked; loopback is among them
        wanted = [installation.bind]
    else:
        wanted = list(dict.fromkeys(["127.0.0.1", installation.bind.replace("localhost", "127.0.0.1")]))
    return [_bind(address, installation.front_port) for address in wanted]


def _bind(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
    except OSError as error:
        bound.close()
        raise Permanent(
            f"The front door can't listen on {address}:{port}: {error.strerror}. Stop what uses it, or choose another"
            " with AERODROME_BIND or AERODROME_PORT."
        ) from error
    return bound


async def _sources(store: EnvironmentStore) -> list[Source]:
    return [source_of(environment) for environment in await store.all() if GOALS[environment.status] is Goal.RUN]


async def _sweep(plane: ControlPlane) -> None:
    while True:
        with suppress(Temporary):
            await plane.tokens.sweep(now())
            await plane.sessions.sweep(now())
            await plane.keys.sweep(now())
            await plane.events.prune()
        await asyncio.sleep(_SWEEP)


def _site(layout: Layout, installation: Installation, endpoints: Mapping[str, str], *, confined: bool) -> Site:
    return Site(
        database_address=installation.postgres_url.rpartition("@")[2],
        broker_address=installation.valkey_url.rpartition("@")[2],
        broker_scheme=installation.valkey_url.partition(":")[0],
        # Components go by loopback whatever else we listen on: SDKs take credentials from no other plain address.
        control_url=f"http://127.0.0.1:{installation.front_port}",
        aws_endpoint_url=f"http://127.0.0.1:{installation.front_port}",
        aws_endpoint_urls=endpoints,
        ca_bundle=str(layout.ca_bundle),
        variables=installation.postgres_variables,
        confined=confined,
    )

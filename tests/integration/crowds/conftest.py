"""The real API, store, loop and reconciler on a real PostgreSQL, behind the front door's own listener; the rest is a
world in memory: components on the fake backend, an account and buckets as tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import uvloop
from starlette.applications import Starlette

from aerodrome.api.airflow_session import AirflowSessions
from aerodrome.api.app import FrontDoor
from aerodrome.api.call import fold
from aerodrome.api.context import Context
from aerodrome.api.history import build_history
from aerodrome.api.middleware import build_middleware, build_operation
from aerodrome.api.throttle import Throttle
from aerodrome.domain.environment import Environment
from aerodrome.domain.principal import AccessKey, Credentials, ExecutionRole, Principal
from aerodrome.gateway.hosts import loopback_address
from aerodrome.identity import Verifier
from aerodrome.reconcile.loop import Loop
from aerodrome.reconcile.reconciler import Reconciler
from aerodrome.server.world import EventJournal
from aerodrome.store.database import open_pool
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.events import EventStore
from aerodrome.store.sessions import SessionStore
from aerodrome.store.tokens import TokenStore
from aerodrome.store.vault import Vault
from aerodrome.web.limits import ConnectionLimits
from aerodrome.wire import Wire
from support.crowds import listening
from support.mwaa import Subnets
from support.world import World

ACCOUNT = "100000000001"


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}  # the control plane's


class Account:
    """One user who may do everything, one role that may be assumed."""

    async def resolve(self, key_id: str, session_token: str | None) -> AccessKey | None:
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": [everything]}
        arn = f"arn:aws:iam::{ACCOUNT}:user/{key_id}"
        return AccessKey(key_id, "secret", principal=Principal(arn, ACCOUNT, "aws", key_id, (policy,)))

    async def confirm(self, role_arn: str, *, source_arn: str | None = None) -> ExecutionRole:
        return ExecutionRole("AROA1", None)

    async def assume_role(
        self, role_arn: str, session_name: str, duration: int = 3600, *, source_arn: str | None = None
    ) -> Credentials:
        return Credentials("key", "secret", "token", datetime.now(UTC) + timedelta(hours=1))


class Buckets:
    def list_objects_v2(self, **_: Any) -> Mapping[str, Any]:
        return {"KeyCount": 0}

    def head_object(self, **_: Any) -> Mapping[str, Any]:
        return {}

    def get_bucket_versioning(self, **_: Any) -> Mapping[str, Any]:
        return {"Status": "Enabled"}

    def get_public_access_block(self, **_: Any) -> Mapping[str, Any]:
        flags = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        return {"PublicAccessBlockConfiguration": dict.fromkeys(flags, True)}


class NoServers:
    async def web_servers(self, environment: Environment) -> list[str]:
        return []


@dataclass
class Plane:
    """A control plane that runs. `looks`: the ids of environments in the order in which they were looked at;
    `answers`: requests that were answered."""

    url: str
    store: EnvironmentStore
    world: World
    looks: list[str] = field(default_factory=list)
    answers: int = 0


@pytest.fixture
async def plane(database_url: str) -> AsyncIterator[Plane]:
    async with AsyncExitStack() as stack:
        asking = await stack.enter_async_context(open_pool(database_url))
        working = await stack.enter_async_context(open_pool(database_url))
        async with asking.connection() as connection:
            await connection.execute(
                "TRUNCATE environments, events, tokens, sessions, session_cookies RESTART IDENTITY"
            )
        vault, account, world = Vault(b"k" * 32), Account(), World()
        store = EnvironmentStore(working, vault)
        reconciler = Reconciler(
            store, world, world.services(), EventJournal(EventStore(working)), now=_now, create_timeout=600
        )

        async def look(environment_id: str) -> float | None:
            plane.looks.append(environment_id)
            return await reconciler.reconcile(environment_id)

        loop = Loop(look, store.ids)
        context = Context(
            store=EnvironmentStore(asking, vault),
            events=EventStore(asking),
            tokens=TokenStore(asking),
            signed_in=SessionStore(asking),
            vault=vault,
            roles=account,
            s3_client=lambda credentials, region: Buckets(),
            network=Subnets(),
            upstreams=NoServers(),
            sessions=AirflowSessions(),
            rest_throttle=Throttle(),
            poke=loop.poke,
            now=_now,
            loopback_address=loopback_address,
            gateway_port=443,
            web_host="address",
            strict=False,
        )
        wire, verifier = Wire("mwaa"), Verifier(account, _now)
        middleware = build_middleware(wire, verifier)
        front = FrontDoor(
            own=Starlette(),
            mwaa=fold(middleware, build_operation(wire, context)),
            history=fold(middleware[:-1], build_history(context)),
            wire=wire,
            cloud=None,
            healthy=lambda: True,
        )

        async def counted(scope: Any, receive: Any, send: Any) -> None:
            await front(scope, receive, send)
            plane.answers += 1

        port = await stack.enter_async_context(listening(counted, ConnectionLimits()))
        plane = Plane(f"http://127.0.0.1:{port}", store, world)
        running = asyncio.create_task(loop.run())
        yield plane
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _now() -> datetime:
    return datetime.now(UTC)

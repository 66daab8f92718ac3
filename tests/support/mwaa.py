"""The MWAA API through boto3's own client, against a real store; roles and buckets are tables here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotoCredentials
from botocore.exceptions import ClientError
from starlette.applications import Starlette

from aerodrome.api.airflow_session import AirflowSessions
from aerodrome.api.app import FrontDoor
from aerodrome.api.call import fold
from aerodrome.api.context import Context
from aerodrome.api.middleware import build_middleware, build_operation
from aerodrome.api.sessions import build_own_calls
from aerodrome.api.throttle import Throttle
from aerodrome.domain.environment import Environment, EnvironmentKey, Status
from aerodrome.domain.principal import AccessKey, Credentials, ExecutionRole, Principal, PrincipalReference
from aerodrome.errors import AerodromeError, Permanent
from aerodrome.gateway.hosts import loopback_address
from aerodrome.identity import PrincipalSource, Verifier
from aerodrome.store.database import Pool
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.events import EventStore
from aerodrome.store.sessions import SessionStore
from aerodrome.store.tokens import TokenStore
from aerodrome.store.vault import Vault
from aerodrome.wire import Wire
from support.asgi import serving

SESSION = boto3.Session()  # one: it reads its data but once
ACCOUNT = "100000000001"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/mwaa"
ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
GIVEN: dict[str, Any] = {
    "ExecutionRoleArn": ROLE,
    "SourceBucketArn": "arn:aws:s3:::good",
    "DagS3Path": "dags/",
    "NetworkConfiguration": {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]},
}
OPEN = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": False}
CLOSED = {**OPEN, "RestrictPublicBuckets": True}


def error(code: str, status: int = 400) -> ClientError:
    answer = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "S3")  # type: ignore[arg-type]


class Buckets:
    """What S3 says of a few buckets. A test puts objects into them: (bucket, key) -> versions, the current one last."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], list[str]] = {}

    def list_objects_v2(self, Bucket: str, **_: Any) -> Mapping[str, Any]:  # noqa: N803 - boto3's name
        if Bucket == "missing":
            raise error("NoSuchBucket")
        if Bucket == "forbidden":
            raise error("AccessDenied")
        return {"KeyCount": 0}

    def get_bucket_versioning(self, Bucket: str) -> Mapping[str, Any]:  # noqa: N803
        return {} if Bucket == "unversioned" else {"Status": "Enabled"}

    def get_public_access_block(self, Bucket: str) -> Mapping[str, Any]:  # noqa: N803
        if Bucket == "unblocked":
            raise error("NoSuchPublicAccessBlockConfiguration")
        return {"PublicAccessBlockConfiguration": OPEN if Bucket == "open" else CLOSED}

    def head_object(self, Bucket: str, Key: str, VersionId: str | None = None) -> Mapping[str, Any]:  # noqa: N803
        if Key.startswith("secret/"):
            raise error("403", 403)
        if Bucket in ("missing", "forbidden"):
            raise error("404" if Bucket == "missing" else "403", 404 if Bucket == "missing" else 403)
        versions = self.objects.get((Bucket, Key), [])
        if VersionId is not None and not VersionId.isalnum():
            raise error("400", 400)
        if not versions or VersionId not in (None, *versions):
            raise error("404", 404)
        return {"VersionId": VersionId or versions[-1]}


class Account:
    """Keys by id: `admin`, and whatever a test adds. Implements PrincipalSource and RoleSource."""

    def __init__(self) -> None:
        self.policies: dict[str, list[dict[str, Any]]] = {"admin": [ALL]}
        self.places: dict[str, tuple[str, str]] = {}  # key -> partition and account, where not the usual ones
        self.roles = {ROLE}
        self.untrusting: set[str] = set()  # roles that can't be assumed
        self.allowed: dict[str, Sequence[Mapping[str, Any]] | None] = {}  # role -> statements; None: nobody can tell

    async def resolve(self, key_id: str, session_token: str | None) -> AccessKey | None:
        if key_id not in self.policies:
            return None
        policy = {"Version": "2012-10-17", "Statement": self.policies[key_id]}
        partition, account = self.places.get(key_id, ("aws", ACCOUNT))
        arn = f"arn:{partition}:iam::{account}:user/{key_id}"
        reference = PrincipalReference(key_id, arn, key_id, arn, key_id)
        principal = Principal(arn, account, partition, key_id, (policy,), reference=reference)
        return AccessKey(key_id, "secret", principal=principal)

    async def principal_of(self, reference: PrincipalReference) -> Principal | None:
        key = await self.resolve(reference.access_key_id, None)
        return None if key is None else key.principal

    async def confirm(self, role_arn: str, *, source_arn: str | None = None) -> ExecutionRole:
        if role_arn not in self.roles:
            raise Permanent(f"There is no role {role_arn}.")
        if role_arn in self.untrusting:
            raise Permanent(f"The role {role_arn} doesn't trust airflow-env.amazonaws.com.")
        statements = self.allowed.get(role_arn, [ALL])
        if statements is None:
            return ExecutionRole("", None)
        policy = {"Version": "2012-10-17", "Statement": list(statements)}
        _, partition, _, _, account, _ = role_arn.split(":", 5)
        return ExecutionRole("AROA1", Principal(role_arn, account, partition, "AROA1", (policy,)))

    async def assume_role(
        self, role_arn: str, session_name: str, duration: int = 3600, *, source_arn: str | None = None
    ) -> Credentials:
        await self.confirm(role_arn, source_arn=source_arn)
        return Credentials("key", "secret", "token", datetime.now(UTC) + timedelta(hours=1))


class Subnets:
    """What EC2 says of subnets: those that a test names are wrong."""

    def __init__(self) -> None:
        self.wrong: dict[str, AerodromeError] = {}
        self.asked: list[tuple[EnvironmentKey, tuple[str, ...]]] = []

    async def check_subnets(self, key: EnvironmentKey, subnets: Collection[str]) -> None:
        self.asked.append((key, tuple(subnets)))
        for subnet in subnets:
            if subnet in self.wrong:
                raise self.wrong[subnet]


class Servers:
    """The web servers of every environment."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    async def web_servers(self, environment: Environment) -> list[str]:
        return self.addresses


class House:
    def __init__(
        self,
        url: str,
        account: Account,
        store: EnvironmentStore,
        upstreams: Servers,
        poked: list[str],
        door: FrontDoor,
        subnets: Subnets,
        buckets: Buckets,
        context: Context,
    ) -> None:
        self.context = context
        self.url, self.account, self.store, self.upstreams, self.poked = url, account, store, upstreams, poked
        self.door = door
        self.subnets = subnets
        self.buckets = buckets
        self._clients: dict[tuple[str, str], Any] = {}

    def client(self, key: str = "admin", region: str = "eu-west-1") -> Any:
        if (key, region) not in self._clients:
            self._clients[key, region] = self._make_client(key, region)
        return self._clients[key, region]

    def _make_client(self, key: str, region: str, *, checked: bool = True) -> Any:
        return SESSION.client(
            "mwaa",
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=key,
            aws_secret_access_key="secret",
            config=Config(inject_host_prefix=False, parameter_validation=checked, retries={"total_max_attempts": 1}),
        )

    async def call(self, operation: str, key: str = "admin", region: str = "eu-west-1", **params: Any) -> Any:
        return await asyncio.to_thread(getattr(self.client(key, region), operation), **params)

    async def history(self, name: str, after: str = "0", key: str = "admin", signed: bool = True) -> tuple[int, Any]:
        request = AWSRequest("GET", f"{self.url}/_aerodrome/environments/{name}/events?after={after}")
        if signed:
            SigV4Auth(BotoCredentials(key, "secret"), "airflow", "eu-west-1").add_auth(request)
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(request.url, headers=dict(request.headers))
        return answer.status_code, answer.json()

    async def own(self, method: str, path: str, key: str = "admin", **body: Any) -> tuple[int, Any]:
        """A signed call that MWAA doesn't have, below `/_aerodrome/`; `body` is sent as JSON."""
        request = AWSRequest(method, f"{self.url}/_aerodrome/{path}", data=json.dumps(body) if body else b"")
        SigV4Auth(BotoCredentials(key, "secret"), "airflow", "eu-west-1").add_auth(request)
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.request(method, request.url, headers=dict(request.headers), content=request.data)
        return answer.status_code, answer.json()

    async def patch(self, name: str, members: Mapping[str, Any]) -> tuple[int, Any]:
        """UpdateEnvironment as no SDK would send it."""
        request = AWSRequest("PATCH", f"{self.url}/environments/{name}", data=json.dumps(members))
        SigV4Auth(BotoCredentials("admin", "secret"), "airflow", "eu-west-1").add_auth(request)
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.patch(request.url, headers=dict(request.headers), content=request.data)
        return answer.status_code, answer.json()

    async def refused(self, operation: str, key: str = "admin", region: str = "eu-west-1", **params: Any) -> Any:
        with pytest.raises(ClientError) as caught:
            await self.call(operation, key, region, **params)
        return caught.value.response

    async def refused_unchecked(self, operation: str, **params: Any) -> Any:
        """As a client without checks of its own would call."""
        with pytest.raises(ClientError) as caught:
            await asyncio.to_thread(
                getattr(self._make_client("admin", "eu-west-1", checked=False), operation), **params
            )
        return caught.value.response

    async def create(self, name: str = "demo", region: str = "eu-west-1", **members: Any) -> Any:
        return await self.call("create_environment", region=region, Name=name, **{**GIVEN, **members})

    async def become(self, name: str, status: Status) -> None:
        for row in await self.store.all():
            if row.key.name == name:
                assert await self.store.update(row, status=status) is not None


@cache
def made_wire(longest_path: int) -> Wire:
    """One for all tests: it is made of the model alone, which takes a while to read."""
    return Wire("mwaa", {"RestApiPath": longest_path})


@asynccontextmanager
async def open_house(
    pool: Pool, *, longest_path: int = 2048, source: PrincipalSource | None = None, **changes: Any
) -> AsyncIterator[House]:
    """The API on that database. `changes`: of the context that operations get; `source`: of its callers."""
    buckets = Buckets()
    store, events, account, poked = EnvironmentStore(pool, vault := Vault(b"k" * 32)), EventStore(pool), Account(), []
    context = Context(
        store=store,
        events=events,
        tokens=TokenStore(pool),
        signed_in=SessionStore(pool),
        vault=vault,
        roles=account,
        s3_client=lambda credentials, region: buckets,
        network=(subnets := Subnets()),
        upstreams=(upstreams := Servers()),
        sessions=AirflowSessions(),
        rest_throttle=Throttle(),
        poke=poked.append,
        now=lambda: datetime.now(UTC),
        loopback_address=loopback_address,
        gateway_port=443,
        web_host="address",
        strict=False,
    )
    context = replace(context, **changes)
    wire, verifier = made_wire(longest_path), Verifier(source or account, context.now)
    door = FrontDoor(
        own=Starlette(),
        mwaa=fold(middleware := build_middleware(wire, verifier), build_operation(wire, context)),
        history=fold(middleware[:-1], build_own_calls(context)),
        wire=wire,
        cloud=None,
        healthy=lambda: True,
    )
    async with serving(door) as url:
        yield House(url, account, store, upstreams, poked, door, subnets, buckets, context)

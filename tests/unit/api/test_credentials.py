"""The container credentials endpoint, asked by botocore's own provider over a real loopback server."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from botocore.credentials import ContainerProvider, RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError
from botocore.utils import ContainerMetadataFetcher
from starlette.applications import Starlette

from aerodrome.api.credentials import ExecutionRole, credential_path, credential_routes
from aerodrome.content.credentials import RoleCredentials
from aerodrome.domain.principal import Credentials
from aerodrome.errors import Permanent, Temporary

ROLE = "arn:aws:iam::100000000001:role/execution"
TOKEN = "t0ken"
KNOWN = {"0123456789ab": ExecutionRole(ROLE, TOKEN), "notokenatall": ExecutionRole(ROLE, "")}


class Roles:
    """A role source whose answers a test decides."""

    def __init__(self) -> None:
        self.lifetime = timedelta(hours=1)
        self.error: Exception | None = None
        self.sessions: list[tuple[str, str]] = []

    async def assume_role(
        self, role_arn: str, session_name: str, duration: int = 3600, *, source_arn: str | None = None
    ) -> Credentials:
        if self.error:
            raise self.error
        self.sessions.append((role_arn, session_name))
        return Credentials(f"ASIA{len(self.sessions)}", "secret", "session-token", datetime.now(UTC) + self.lifetime)


@contextmanager
def served(app: Starlette, host: str = "127.0.0.1") -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind((host, 0))
        config = uvicorn.Config(app, log_level="warning", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def roles() -> Roles:
    return Roles()


@pytest.fixture
def url(roles: Roles) -> Iterator[str]:
    async def lookup(environment_id: str) -> ExecutionRole | None:
        return KNOWN.get(environment_id)

    with served(Starlette(routes=credential_routes(lookup, RoleCredentials(roles)))) as base:
        yield base + credential_path("0123456789ab")


def provider(url: str, token: str = TOKEN) -> ContainerProvider:
    environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url, "AWS_CONTAINER_AUTHORIZATION_TOKEN": token}
    return ContainerProvider(environ, ContainerMetadataFetcher(sleep=lambda _: None))


def load(url: str, token: str = TOKEN) -> RefreshableCredentials:
    loaded: Any = provider(url, token).load()
    assert isinstance(loaded, RefreshableCredentials)
    return loaded


def test_botocore_reads_them(url: str, roles: Roles) -> None:
    frozen = load(url).get_frozen_credentials()
    assert (frozen.access_key, frozen.secret_key, frozen.token) == ("ASIA1", "secret", "session-token")
    assert roles.sessions == [(ROLE, "AmazonMWAA-0123456789ab")]


def test_they_are_shared_while_they_live_long_enough(url: str, roles: Roles) -> None:
    load(url)
    assert load(url).get_frozen_credentials().access_key == "ASIA1"
    assert len(roles.sessions) == 1


def test_botocore_refreshes_them_and_gets_new_ones(url: str, roles: Roles) -> None:
    roles.lifetime = timedelta(minutes=5)  # within botocore's mandatory refresh window
    loaded = load(url)
    roles.lifetime = timedelta(hours=1)
    assert loaded.get_frozen_credentials().access_key == "ASIA2"
    assert loaded.get_frozen_credentials().access_key == "ASIA2"
    assert len(roles.sessions) == 2


def test_what_is_handed_out_needs_no_refresh_at_once(url: str, roles: Roles) -> None:
    roles.lifetime = timedelta(minutes=19)
    load(url)
    roles.lifetime = timedelta(hours=1)
    loaded = load(url)
    assert not loaded.refresh_needed()


def test_the_format(url: str) -> None:
    answer = httpx.get(url, headers={"Authorization": TOKEN}, trust_env=False)
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body.keys() == {"AccessKeyId", "SecretAccessKey", "Token", "Expiration", "RoleArn"}
    assert body["RoleArn"] == ROLE
    expires = datetime.strptime(body["Expiration"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta(minutes=59) < expires - datetime.now(UTC) <= timedelta(hours=1)


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("0123456789ab", {}, 401, "MissingAuthenticationToken"),
        ("0123456789ab", {"Authorization": ""}, 401, "MissingAuthenticationToken"),
        ("0123456789ab", {"Authorization": "wrong"}, 403, "AccessDenied"),
        ("0123456789ab", {"Authorization": TOKEN + "x"}, 403, "AccessDenied"),
        ("0123456789ab", {"Authorization": f"Bearer {TOKEN}"}, 403, "AccessDenied"),
        ("0123456789ab", {"Authorization": b"t\xf6ken"}, 403, "AccessDenied"),
        ("notokenatall", {"Authorization": TOKEN}, 403, "AccessDenied"),
        ("ffffffffffff", {"Authorization": TOKEN}, 404, "ResourceNotFoundException"),
        ("0123456789ab", {"Authorization": TOKEN, "X-Forwarded-For": "10.0.0.1"}, 403, "AccessDenied"),
        ("0123456789ab", {"Authorization": TOKEN, "X-Forwarded-For": "127.0.0.1"}, 403, "AccessDenied"),
    ],
)
def test_refusals(url: str, roles: Roles, path: str, headers: dict[str, Any], status: int, code: str) -> None:
    answer = httpx.get(url.replace("0123456789ab", path), headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["message"]
    assert "secret" not in answer.text
    assert roles.sessions == []


def test_botocore_says_what_was_refused(url: str) -> None:
    with pytest.raises(CredentialRetrievalError, match="token is not that of environment 0123456789ab"):
        load(url, "wrong")


def test_a_source_that_is_away_is_503(url: str, roles: Roles) -> None:
    roles.error = Temporary("STS is away.", retry_after=7)
    answer = httpx.get(url, headers={"Authorization": TOKEN}, trust_env=False)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert answer.json() == {"code": "ServiceUnavailable", "message": "STS is away."}


def test_a_role_that_does_not_trust_the_service_is_403(url: str, roles: Roles) -> None:
    roles.error = Permanent("The role doesn't trust airflow-env.amazonaws.com.")
    answer = httpx.get(url, headers={"Authorization": TOKEN}, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (403, "AssumeRoleFailed")


@pytest.mark.parametrize(
    ("peer", "status"),
    [("127.0.0.1", 200), ("127.83.0.9", 200), ("::1", 200), ("::ffff:127.0.0.1", 200), ("10.0.0.7", 403), ("", 403)],
)
async def test_loopback_peers_only(roles: Roles, peer: str, status: int) -> None:
    async def lookup(environment_id: str) -> ExecutionRole | None:
        return KNOWN.get(environment_id)

    app = Starlette(routes=credential_routes(lookup, RoleCredentials(roles)))
    transport = httpx.ASGITransport(app, client=(peer, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        answer = await http.get(credential_path("0123456789ab"), headers={"Authorization": TOKEN})
    assert answer.status_code == status

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

from aerodrome.api import credentials as credentials_api
from aerodrome.api.credentials import Holder, credential_path, credential_routes
from aerodrome.content.credentials import RoleCredentials
from aerodrome.domain.principal import Credentials, ExecutionRole
from aerodrome.errors import Permanent, Temporary

ROLE = "arn:aws:iam::100000000001:role/execution"
TOKEN = "t0ken"
OTHERS = "the-token-of-another"
KNOWN = {
    "0123456789ab": Holder(ROLE, TOKEN),
    "ba9876543210": Holder(ROLE.replace("execution", "other"), OTHERS),
    "notokenatall": Holder(ROLE, ""),
}
BROKEN = {"b": Permanent("the row of b can't be opened"), "c": Temporary("the database is away")}


class Roles:
    """A role source whose answers a test decides."""

    def __init__(self) -> None:
        self.lifetime = timedelta(hours=1)
        self.error: Exception | None = None
        self.role_id = "AROA1"
        self.sessions: list[tuple[str, str]] = []

    async def confirm(self, role_arn: str, *, source_arn: str | None = None) -> ExecutionRole:
        if self.error:
            raise self.error
        return ExecutionRole(self.role_id, None)

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
def told() -> list[tuple[str, str | None]]:
    """What was told of the answers: (environment, why it got none)."""
    return []


@pytest.fixture
def url(roles: Roles, told: list[tuple[str, str | None]]) -> Iterator[str]:
    async def lookup(environment_id: str) -> Holder | None:
        if environment_id in BROKEN:
            raise BROKEN[environment_id]
        return KNOWN.get(environment_id)

    async def tell(environment_id: str, problem: str | None) -> None:
        told.append((environment_id, problem))

    with served(Starlette(routes=credential_routes(lookup, RoleCredentials(roles), tell))) as base:
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
        ("0123456789ab", {"Authorization": OTHERS}, 403, "AccessDenied"),
        ("ba9876543210", {"Authorization": TOKEN}, 403, "AccessDenied"),
        ("ffffffffffff", {"Authorization": TOKEN}, 403, "AccessDenied"),
        ("b", {"Authorization": TOKEN}, 500, "InternalServerException"),
        ("c", {"Authorization": TOKEN}, 503, "ServiceUnavailable"),
        ("0123456789ab", {"Authorization": TOKEN, "X-Forwarded-For": "10.0.0.1"}, 403, "AccessDenied"),
        ("0123456789ab", {"Authorization": TOKEN, "X-Forwarded-For": "127.0.0.1"}, 403, "AccessDenied"),
    ],
)
def test_refusals(
    url: str,
    roles: Roles,
    told: list[tuple[str, str | None]],
    path: str,
    headers: dict[str, Any],
    status: int,
    code: str,
) -> None:
    answer = httpx.get(url.replace("0123456789ab", path), headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["message"]
    assert "secret" not in answer.text
    assert "row of b" not in answer.text
    assert (roles.sessions, told) == ([], [])


def test_a_wrong_token_and_a_wrong_environment_get_one_answer(url: str) -> None:
    """Nobody learns which environments there are."""
    answers = []
    for environment_id in ("ba9876543210", "ffffffffffff", "notokenatall"):
        answer = httpx.get(
            url.replace("0123456789ab", environment_id), headers={"Authorization": TOKEN}, trust_env=False
        )
        answers.append((answer.status_code, answer.text.replace(environment_id, "ID"), {*answer.headers} - {"date"}))
    assert answers[0] == answers[1] == answers[2]


def test_tokens_are_compared_in_constant_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    monkeypatch.setattr(credentials_api.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or False)
    for environment_id in ("0123456789ab", "ffffffffffff"):
        httpx.get(url.replace("0123456789ab", environment_id), headers={"Authorization": TOKEN}, trust_env=False)
    assert compared == [(TOKEN.encode(), TOKEN.encode()), (TOKEN.encode(), b"")]


def test_an_environment_gets_its_own_roles_credentials(url: str, roles: Roles) -> None:
    load(url)
    load(url.replace("0123456789ab", "ba9876543210"), OTHERS)
    own, other = KNOWN["0123456789ab"].role_arn, KNOWN["ba9876543210"].role_arn
    assert roles.sessions == [(own, "AmazonMWAA-0123456789ab"), (other, "AmazonMWAA-ba9876543210")]


def test_a_role_that_trusts_us_no_more_gives_nothing_more(
    url: str, roles: Roles, told: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Remembered credentials neither; and it is told why, to the SDK and to the environment's history."""
    monkeypatch.setattr("aerodrome.content.credentials._CONFIRMED", timedelta())
    load(url)
    roles.error = Permanent("The role doesn't trust airflow.amazonaws.com for arn:… . Add to its trust policy: {}")
    with pytest.raises(CredentialRetrievalError, match=r"doesn't trust airflow.amazonaws.com"):
        load(url)
    roles.error = None
    assert load(url).get_frozen_credentials().access_key == "ASIA2"
    problem = "The role doesn't trust airflow.amazonaws.com for arn:… . Add to its trust policy: {}"
    refusals = {each for each in told if each[1] is not None}
    assert refusals == {("0123456789ab", problem)}
    assert (told[0], told[-1]) == (("0123456789ab", None), ("0123456789ab", None))


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
    async def lookup(environment_id: str) -> Holder | None:
        return KNOWN.get(environment_id)

    app = Starlette(routes=credential_routes(lookup, RoleCredentials(roles)))
    transport = httpx.ASGITransport(app, client=(peer, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        answer = await http.get(credential_path("0123456789ab"), headers={"Authorization": TOKEN})
    assert answer.status_code == status

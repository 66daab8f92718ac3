"""Whose credentials EC2 is asked with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.principal import Credentials
from aerodrome.server.own_identity import service_identity
from aerodrome.settings import Settings

KEY = EnvironmentKey("aws", "200000000002", "eu-west-1", "demo")
SETTINGS = Settings(aws_access_key_id="own", aws_secret_access_key=SecretStr("secret"))


class Cloud:
    async def assume_service_role(self, account: str) -> Credentials:
        return Credentials(f"role in {account}", "secret", "token", datetime.now(UTC))


async def test_the_embedded_cloud_is_asked_as_the_service_linked_role_of_the_environments_account() -> None:
    cloud: Any = Cloud()
    assert (await service_identity(cloud, SETTINGS, {})(KEY)).access_key_id == "role in 200000000002"


async def test_aws_is_asked_with_the_control_planes_own_key() -> None:
    cloud: Any = Cloud()
    found = await service_identity(cloud, SETTINGS, {"STS": "https://sts.eu-west-1.amazonaws.com"})(KEY)
    assert (found.access_key_id, found.secret_access_key, found.session_token) == ("own", "secret", "")
    assert found.expires_at > datetime(9999, 1, 1, tzinfo=UTC), "it doesn't run out"

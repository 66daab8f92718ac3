"""Who the installation itself is to AWS: when it assumes execution roles, and when it asks EC2."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from aerodrome.aws.clients import AwsClients
from aerodrome.aws.cloud import AwsRoleSource, CloudSocket
from aerodrome.aws.network import Identity
from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.principal import Credentials, RoleSource
from aerodrome.errors import Permanent
from aerodrome.settings import Settings


def roles(cloud: CloudSocket, clients: AwsClients, settings: Settings, endpoints: Mapping[str, str]) -> RoleSource:
    """Execution roles come from the embedded cloud, or from the STS that the user named."""
    if "STS" not in endpoints:
        return cloud
    if settings.aws_access_key_id is None or settings.aws_secret_access_key is None:
        raise Permanent(
            "AWS_ENDPOINT_URL_STS is set, so execution roles are assumed there, but there is no key to do it with: set"
            " AERODROME_AWS_ACCESS_KEY_ID and AERODROME_AWS_SECRET_ACCESS_KEY."
        )
    return AwsRoleSource(clients, _own_credentials(settings), settings.region)


def service_identity(cloud: CloudSocket, settings: Settings, endpoints: Mapping[str, str]) -> Identity:
    """Who we are to EC2: the service-linked role of the embedded cloud, or our own key when STS is a real one."""

    async def identity(key: EnvironmentKey) -> Credentials:
        return await cloud.assume_service_role(key.account) if "STS" not in endpoints else _own_credentials(settings)

    return identity


def _own_credentials(settings: Settings) -> Credentials:
    secret = settings.aws_secret_access_key.get_secret_value() if settings.aws_secret_access_key else ""
    return Credentials(settings.aws_access_key_id or "", secret, "", datetime.max.replace(tzinfo=UTC))

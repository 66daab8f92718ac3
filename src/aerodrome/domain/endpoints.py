"""The endpoint services of an environment whose owner makes the VPC endpoints: EndpointManagement CUSTOMER."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from aerodrome.domain.environment import EnvironmentKey

PATIENCE = timedelta(hours=72)  # from the create until an environment is PENDING no longer, mwaa-spec 2.1
_DATABASE, _WEB_SERVER = "DatabaseVpcEndpointService", "WebserverVpcEndpointService"


def endpoint_services(environment_id: str, key: EnvironmentKey, members: Mapping[str, Any]) -> dict[str, str]:
    """Member of GetEnvironment -> the service that its owner makes a VPC endpoint for; none with SERVICE.

    One for the database, one for a web server that is reached privately (mwaa-spec 12). A name follows from the
    environment's id: the same all its life, and no other environment's.
    """
    if members.get("EndpointManagement") != "CUSTOMER":
        return {}
    wanted = [_DATABASE] if members["WebserverAccessMode"] == "PUBLIC_ONLY" else [_DATABASE, _WEB_SERVER]
    china = "cn." if key.partition == "aws-cn" else ""
    return {
        member: f"{china}com.amazonaws.vpce.{key.region}.{_service_id(environment_id, member)}" for member in wanted
    }


def _service_id(environment_id: str, member: str) -> str:
    return f"vpce-svc-{hashlib.sha256(f'{environment_id}/{member}'.encode()).hexdigest()[:17]}"

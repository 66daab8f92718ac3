"""The catalogue of Airflow versions: what differs between them is data here, never an `if` elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from aerodrome.domain.airflow_three import V3_3_1
from aerodrome.domain.airflow_two import V2_11_2
from aerodrome.domain.airflow_version import (
    AirflowVersion,
    ComponentTemplate,
    airflow_command,
    warm_command,
    worker_node,
)
from aerodrome.domain.component import ComponentKind
from aerodrome.errors import Permanent

__all__ = [
    "DEFAULT_VERSION",
    "IDENTITY_HEADER",
    "PROOF_HEADER",
    "VERSIONS",
    "AirflowVersion",
    "ComponentTemplate",
    "airflow_command",
    "exists",
    "get",
    "unhealthy_parts",
    "warm_command",
    "worker_node",
]

IDENTITY_HEADER = "X-Aerodrome-Identity"
PROOF_HEADER = "X-Aerodrome-Gateway"
DEFAULT_VERSION = "3.3.1"

VERSIONS: Mapping[str, AirflowVersion] = MappingProxyType({known.version: known for known in (V3_3_1, V2_11_2)})


def exists(version: str) -> bool:
    return version in VERSIONS


def get(version: str) -> AirflowVersion:
    """The version's entry.

    Raises:
        Permanent: we don't have that version.
    """
    try:
        return VERSIONS[version]
    except KeyError:
        raise Permanent(
            f"Airflow {version!r} is not among the versions that Aerodrome has: {', '.join(VERSIONS)}."
        ) from None


def unhealthy_parts(version: AirflowVersion, payload: Mapping[str, Any], kinds: Collection[ComponentKind]) -> list[str]:
    """What the health document says is not well, as lines for a person; [] means that all `kinds` are healthy.

    The web server answers 200 also when a scheduler is gone: the document's statuses are what counts.
    """
    wanted = ["metadatabase"] + [key for key, kind in version.health_kinds.items() if kind in kinds]
    problems = []
    for key in wanted:
        part = payload.get(key)
        status = part.get("status") if isinstance(part, Mapping) else None
        if status != "healthy":
            problems.append(f"{key} is {status or 'not reporting'}")
    return problems

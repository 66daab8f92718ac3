"""What of an environment's row lies sealed: its secrets, its sensitive members, what was made of its objects."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from aerodrome.domain.secrets import EnvironmentSecrets
from aerodrome.vault import Seal

# Members of the specification that the model marks sensitive (mwaa-spec 1.3).
_SENSITIVE = ("AirflowConfigurationOptions",)
_SEALED = "sealed:"


def seal_secrets(key: Seal, environment_id: str, secrets: EnvironmentSecrets) -> bytes:
    return key.seal(json.dumps(secrets.to_json()).encode(), environment_id)


def open_secrets(key: Seal, environment_id: str, sealed: bytes) -> EnvironmentSecrets:
    """Raises Permanent: it doesn't open with this key."""
    return EnvironmentSecrets.from_json(json.loads(key.open(bytes(sealed), environment_id)))


def seal_members(key: Seal, environment_id: str, members: Mapping[str, Any]) -> Jsonb:
    """The specification as it is stored."""
    packed = dict(members)
    for name in _SENSITIVE:
        if name in packed:
            sealed = key.seal(json.dumps(packed[name]).encode(), f"{environment_id}/{name}")
            packed[name] = _SEALED + base64.b64encode(sealed).decode()
    return Jsonb(packed)


def open_members(key: Seal, environment_id: str, packed: Mapping[str, Any]) -> dict[str, Any]:
    """Raises Permanent: it doesn't open with this key."""
    members = dict(packed)
    for name in _SENSITIVE:
        value = members.get(name)
        if isinstance(value, str) and value.startswith(_SEALED):
            sealed = base64.b64decode(value[len(_SEALED) :])
            members[name] = json.loads(key.open(sealed, f"{environment_id}/{name}"))
    return members


def without(packed: Mapping[str, Any]) -> dict[str, Any]:
    """The specification without what lies sealed of it."""
    return {name: value for name, value in packed.items() if name not in _SENSITIVE}


def seal_made(key: Seal, environment_id: str, made: Mapping[str, Any]) -> bytes | None:
    return key.seal(json.dumps(made).encode(), f"{environment_id}/made") if made else None


def open_made(key: Seal, environment_id: str, sealed: bytes | None) -> dict[str, Any]:
    """Raises Permanent: it doesn't open with this key."""
    if sealed is None:
        return {}
    opened: dict[str, Any] = json.loads(key.open(bytes(sealed), f"{environment_id}/made"))
    return opened

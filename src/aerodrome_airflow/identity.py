"""The identity header: what the gateway, and nobody else, can say about who is there.

`BODY.SIGNATURE`: BODY is unpadded base64url of a JSON object with `user`, `first_name`, `roles`, `exp` (Unix seconds)
and `env` (the environment's id); SIGNATURE is the hex HMAC-SHA256 of BODY under the secret that gateway and web
server share. Standard library only: the control plane's tests read this file too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass

HEADER = "X-Aerodrome-Identity"
DEFAULT_ROLES = frozenset({"Admin", "Op", "User", "Viewer", "Public"})
LIFETIME = 30.0  # seconds a header is good for
_MAXIMUM = 8192  # characters of a header


@dataclass(frozen=True)
class Identity:
    """A user as the gateway vouches for it; `roles` are among Airflow's five default ones."""

    user: str
    first_name: str
    roles: tuple[str, ...]


def sign(identity: Identity, *, environment: str, secret: str, now: float) -> str:
    """The header's value, good for `LIFETIME` seconds."""
    claims = {
        "user": identity.user,
        "first_name": identity.first_name,
        "roles": list(identity.roles),
        "exp": now + LIFETIME,
        "env": environment,
    }
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"{body}.{_signature(body, secret)}"


def verify(value: str, *, environment: str, secret: str, now: float) -> Identity | None:
    """Who the header says is there; None unless it is whole, signed, of this environment and fresh."""
    body, dot, signature = value.partition(".")
    if not (dot and secret and environment) or len(value) > _MAXIMUM or not value.isascii():
        return None
    if not hmac.compare_digest(_signature(body, secret), signature):
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(claims, dict) or claims.get("env") != environment:
        return None
    expiry, user, roles = claims.get("exp"), claims.get("user"), claims.get("roles")
    if not isinstance(expiry, (int, float)) or not now < expiry <= now + 2 * LIFETIME:
        return None
    if not (isinstance(user, str) and user and isinstance(roles, list)):
        return None
    known = tuple(role for role in roles if isinstance(role, str) and role in DEFAULT_ROLES)
    return Identity(user, str(claims.get("first_name") or user), known) if known else None


def _signature(body: str, secret: str) -> str:
    return hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()

"""Whom the gateway vouches for, and what it keeps of a credential."""

from __future__ import annotations

import hashlib
from datetime import datetime

from aerodrome.gateway.ports import Principal
from aerodrome.identity import assertion


def sign(secret: bytes, environment_id: str, principal: Principal, now: datetime) -> bytes:
    """The value of the identity header for Airflow's own login."""
    return assertion.sign(secret, environment_id, principal.user, principal.iam_identity, principal.roles, now)


def credential_hash(credential: str) -> str:
    """What is stored of a cookie or bearer token: sha256, 64 hex digits."""
    return hashlib.sha256(credential.encode("latin-1", "replace")).hexdigest()

"""Whom the gateway vouches for, and what it keeps of a credential."""

from __future__ import annotations

import hashlib
from datetime import datetime

from aerodrome.domain.secrets import gateway_proof
from aerodrome.gateway.headers import PROOF
from aerodrome.gateway.ports import Environments, Principal
from aerodrome.identity import assertion


def sign(secret: bytes, environment_id: str, principal: Principal, now: datetime) -> bytes:
    """The value of the identity header for Airflow's own login."""
    return assertion.sign(secret, environment_id, principal.user, principal.iam_identity, principal.roles, now)


class Proofs:
    """What the gateway shows to each environment's web server, which answers nobody else."""

    def __init__(self, environments: Environments) -> None:
        self._environments = environments
        self._made: dict[str, tuple[bytes, bytes]] = {}

    async def header(self, environment_id: str) -> tuple[bytes, bytes]:
        """Raises:
        Temporary: the environment is being deleted, or the store is away.
        """
        if environment_id not in self._made:
            secret = await self._environments.identity_secret(environment_id)
            self._made[environment_id] = (PROOF, gateway_proof(secret.decode(), environment_id).encode())
        return self._made[environment_id]


def credential_hash(credential: str) -> str:
    """What is stored of a cookie or bearer token: sha256, 64 hex digits."""
    return hashlib.sha256(credential.encode("latin-1", "replace")).hexdigest()

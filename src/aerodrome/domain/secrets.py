"""The secrets of one environment: made once at its create, kept sealed, handed to its components alone."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields


@dataclass(frozen=True, slots=True)
class EnvironmentSecrets:
    """All are random and independent; none is ever shown by `repr`."""

    fernet_key: str = field(repr=False)  # url-safe base64 of 32 bytes: Airflow's own format
    secret_key: str = field(repr=False)  # api.secret_key / webserver.secret_key; at least 64 characters
    jwt_secret: str = field(repr=False)  # at least 64 bytes, for HS512
    database_password: str = field(repr=False)
    broker_password: str = field(repr=False)
    identity_secret: str = field(repr=False)  # signs the gateway's identity header
    credentials_token: str = field(repr=False)  # opens the container-credentials endpoint

    @classmethod
    def generate(cls, token: Callable[[int], str], fernet_key: str) -> EnvironmentSecrets:
        """`token(n)` gives n random bytes as url-safe text: randomness is handed in, this package does no I/O."""
        return cls(fernet_key, token(64), token(64), token(24), token(24), token(64), token(32))

    def to_json(self) -> dict[str, str]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, str]) -> EnvironmentSecrets:
        return cls(**{f.name: raw[f.name] for f in fields(cls)})


def gateway_proof(identity_secret: str, environment_id: str) -> str:
    """The value of X-Aerodrome-Gateway, which every request to an environment's web server shows.

    `aerodrome_airflow.gatekeeper` is the other side.
    """
    return hmac.new(identity_secret.encode(), f"gateway/{environment_id}".encode(), hashlib.sha256).hexdigest()

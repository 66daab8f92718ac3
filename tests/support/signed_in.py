"""Who signed in, as the store keeps it."""

from __future__ import annotations

from aerodrome.domain.principal import PrincipalReference
from aerodrome.store.tokens import Grant


def referred(key_id: str = "AKIA1") -> PrincipalReference:
    arn = "arn:aws:iam::100000000001:user/a"
    return PrincipalReference(key_id, arn, "AIDA1", arn, "AIDA1")


def granted(environment_id: str, *roles: str, user: str = "user/a", key_id: str = "AKIA1") -> Grant:
    """A token's worth; roles: Admin unless others are named."""
    reference = referred(key_id).to_json()
    return Grant(environment_id, user, user, roles or ("Admin",), reference, "127.0.0.1")

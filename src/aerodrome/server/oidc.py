"""The identity provider's parts put together, or none when the settings name no provider."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from aerodrome.domain.sign_in import People
from aerodrome.gateway import ports
from aerodrome.gateway.ports import Oidc
from aerodrome.identity.oidc.asking import Asking, trusting
from aerodrome.identity.oidc.attempts import Attempts
from aerodrome.identity.oidc.config import OidcConfig
from aerodrome.identity.oidc.provider import Provider


@dataclass(frozen=True, slots=True)
class OidcParts:
    """`issuer` and `people` are None when nobody signs in through a provider."""

    people: People | None = None
    provider: Provider | None = None
    attempts: Attempts | None = None
    groups_claim: str = ""

    @property
    def issuer(self) -> str | None:
        return None if self.people is None else self.people.issuer

    def pages_for(self, people: ports.People) -> Oidc | None:
        """What the gateway needs; `people` admits whom the provider vouches for."""
        if self.provider is None or self.attempts is None:
            return None
        return Oidc(self.provider, self.attempts, people, self.groups_claim)


@asynccontextmanager
async def open_oidc(config: OidcConfig | None, master_key: bytes) -> AsyncIterator[OidcParts]:
    """The parts, while the block runs. Nothing is asked of the provider yet."""
    if config is None:
        yield OidcParts()
        return
    asking = Asking(trusting(config.ca_file))
    # The key of the cookies of sign-ins under way: the same after a restart, another with another provider.
    key = hmac.digest(master_key, f"oidc {config.issuer} {config.client_id}".encode(), "sha256")
    try:
        yield OidcParts(
            People(config.issuer, config.mappings),
            Provider(config, asking, _now),
            Attempts(key, _now),
            config.groups_claim,
        )
    finally:
        await asking.close()


def _now() -> datetime:
    return datetime.now(UTC)

"""The discovery document of a provider (OpenID Connect Discovery 1.0, section 3), as far as we believe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from aerodrome.domain.sign_in import same_issuer
from aerodrome.identity.oidc.errors import ProviderAway

PATH = "/.well-known/openid-configuration"
# Signatures by a private key. `none` and HS*, for which a public key would be the secret, are never among them.
ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Metadata:
    """Where the provider is asked, and how it answers."""

    issuer: str  # as it spells itself: `iss` of its tokens
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    algorithms: tuple[str, ...]  # those of its ID tokens that we accept; at least one
    names_itself: bool  # in every answer to an authorization request (RFC 9207)
    posts_secret: bool  # it takes the client's secret in the body alone, not in a header


def metadata_of(document: Mapping[str, Any], issuer: str) -> Metadata:
    """Raises:
    ProviderAway: it is another issuer's, lacks what we need, or sends us somewhere else than https.
    """
    own = document.get("issuer")
    if not isinstance(own, str) or not same_issuer(own, issuer):
        raise ProviderAway(f"The discovery document at {issuer} is of another issuer. Correct AERODROME_OIDC_ISSUER.")
    signing = _words(document, "id_token_signing_alg_values_supported") or ["RS256"]
    algorithms = tuple(each for each in ALGORITHMS if each in signing)
    if not algorithms:
        raise ProviderAway(f"{issuer} signs ID tokens with no algorithm that is accepted here (RS256, ES256, …).")
    methods = _words(document, "token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return Metadata(
        issuer=own,
        authorization_endpoint=_url(document, "authorization_endpoint", issuer),
        token_endpoint=_url(document, "token_endpoint", issuer),
        jwks_uri=_url(document, "jwks_uri", issuer),
        userinfo_endpoint=_url(document, "userinfo_endpoint", issuer) if "userinfo_endpoint" in document else None,
        algorithms=algorithms,
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        posts_secret="client_secret_basic" not in methods and "client_secret_post" in methods,
    )


def _url(document: Mapping[str, Any], name: str, issuer: str) -> str:
    value = document.get(name)
    parts = urlsplit(value) if isinstance(value, str) else None
    if parts is None or parts.scheme != "https" or not parts.hostname or parts.username is not None or parts.fragment:
        raise ProviderAway(f"The discovery document of {issuer} names no https URL as {name}.")
    return str(value)


def _words(document: Mapping[str, Any], name: str) -> list[str]:
    value = document.get(name)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []

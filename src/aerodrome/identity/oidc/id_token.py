"""ID tokens: signature and claims (OpenID Connect Core 1.0, section 3.1.3.7). Pure but for joserfc's arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc import jwk, jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jws import JWSRegistry

from aerodrome.identity.oidc.errors import SignInError
from aerodrome.identity.oidc.metadata import Metadata

LEEWAY = 60  # seconds that the provider's clock may differ
_KEY_TYPES = ("RSA", "EC", "OKP")  # a symmetric key in a public set is no secret
_RSA_BITS = 2048


class UnknownKey(SignInError):
    """The token is signed with a key that isn't among those we know: perhaps a new one."""


def keys_of(document: Mapping[str, Any]) -> jwk.KeySet:
    """The keys of a key set that can verify signatures; those that can't be read are left out."""
    found: list[jwk.Key] = []
    entries = document.get("keys")
    for each in entries if isinstance(entries, list) else []:
        if not isinstance(each, dict) or each.get("kty") not in _KEY_TYPES or each.get("use", "sig") != "sig":
            continue
        try:
            key = jwk.import_key(each)
            key.ensure_kid()
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if not isinstance(key, jwk.RSAKey) or key.raw_value.key_size >= _RSA_BITS:
            found.append(key)
    return jwk.KeySet(found)


def verified(
    text: str, keys: jwk.KeySet, metadata: Metadata, *, client_id: str, nonce: str, access_token: str | None, now: int
) -> dict[str, Any]:
    """The claims. `now` is in Unix seconds.

    Raises:
        UnknownKey, SignInError: it isn't signed by the provider, for us, now, for this very sign-in.
    """
    try:
        token = jwt.decode(text, keys, registry=JWSRegistry(algorithms=list(metadata.algorithms)))
        claims = CodeIDToken(
            token.claims,
            token.header,
            {
                "iss": {"essential": True, "value": metadata.issuer},
                "aud": {"essential": True, "value": client_id},
                "sub": {"essential": True},
                "exp": {"essential": True},
                "iat": {"essential": True},
            },
            {"nonce": nonce, "client_id": client_id, "access_token": access_token},
        )
        claims.validate(now=now, leeway=LEEWAY)
    except InvalidKeyIdError as error:
        raise UnknownKey("The identity provider signed with a key that is not among its public ones.") from error
    except Exception as error:
        # Of what a stranger may have written; both libraries raise more than their own errors for odd values.
        raise SignInError(f"The identity provider's ID token is not valid ({_reason(error)}).") from error
    return dict(claims)


def _reason(error: Exception) -> str:
    """The kind of the error and the claim that it is about; never its text, which may repeat the token's."""
    claim = getattr(error, "claim", None) or getattr(error, "claim_name", None)
    kind = type(error).__name__.removesuffix("Error")
    return f"{kind}: {claim}" if isinstance(claim, str) and claim.isidentifier() else kind

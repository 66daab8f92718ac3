"""AWS Signature Version 4, the verifying side, as AWS does it for every service but S3.

The canonical request is made from the bytes that came over the wire: the path is encoded once more, the query is
decoded and encoded again, the payload's hash is always of the body that is here. Codes are those of mwaa-spec 1.6.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from urllib.parse import quote, quote_from_bytes

from aerodrome.domain.principal import AccessKey, Principal
from aerodrome.errors import ApiError
from aerodrome.identity.scope import (
    ALGORITHM,
    Claim,
    Scope,
    Values,
    by_name,
    incomplete,
    parse_claim,
    parse_scope,
    query_pairs,
)
from aerodrome.identity.source import PrincipalSource

__all__ = ["Caller", "Scope", "Verifier", "parse_scope"]

_SKEW = timedelta(minutes=5)
_UNSIGNED = "UNSIGNED-PAYLOAD"
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who signed a request, and for which region."""

    principal: Principal
    region: str
    key_id: str


class Verifier:
    """Verifies requests for one service. `now` gives an aware datetime.

    A body that its signer left out of the signature (`UNSIGNED-PAYLOAD`) is refused, as AWS refuses it outside of S3,
    unless `allow_unsigned_payload`.
    """

    def __init__(
        self,
        source: PrincipalSource,
        now: Callable[[], datetime],
        *,
        service: str = "airflow",
        allow_unsigned_payload: bool = False,
    ) -> None:
        self._source = source
        self._now = now
        self._service = service
        self._allow_unsigned_payload = allow_unsigned_payload

    async def verify(
        self, method: str, raw_path: bytes, raw_query: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> Caller:
        """The caller, whose signature, key and token are good.

        Raises:
            ApiError: `MissingAuthenticationToken` 403, `IncompleteSignatureException` 400,
                `UnrecognizedClientException` 403, `InvalidSignatureException` 403, `ExpiredTokenException` 403.
            Temporary: the source of principals is away for a moment.
        """
        values = by_name(headers)
        claim = parse_claim(values, raw_query)
        if claim.scope.service != self._service:
            raise _invalid(f"Credential should be scoped to correct service: '{self._service}'.")
        _check_signed_headers(claim, values)
        _check_time(claim, self._now())
        key = await self._key(claim)
        canonical = canonical_request(method, raw_path, raw_query, claim, values, self._payload_hash(values, body))
        if not hmac.compare_digest(_signature(key.secret, claim, canonical), claim.signature):
            raise _invalid(_MISMATCH)
        if key.expires_at is not None and key.expires_at <= self._now():
            raise ApiError("ExpiredTokenException", "The security token included in the request is expired", 403)
        if key.principal is None:
            raise _unrecognized()
        return Caller(key.principal, claim.scope.region, claim.scope.key_id)

    async def _key(self, claim: Claim) -> AccessKey:
        key = await self._source.resolve(claim.scope.key_id, claim.token)
        if key is None or not key.active:
            raise _unrecognized()
        if not hmac.compare_digest((key.session_token or "").encode(), (claim.token or "").encode()):
            raise _unrecognized()
        return key

    def _payload_hash(self, values: Values, body: bytes) -> str:
        said = values.get("x-amz-content-sha256")
        if said is not None and _trimmed(said) == _UNSIGNED.encode():
            if self._allow_unsigned_payload:
                return _UNSIGNED
            raise _invalid(f"The payload must be signed: {_UNSIGNED} is not accepted by this service.")
        actual = hashlib.sha256(body).hexdigest()
        if said is not None and _trimmed(said) != actual.encode():
            raise _invalid("The value of x-amz-content-sha256 is not the SHA-256 hash of the body.")
        return actual


def canonical_request(
    method: str, raw_path: bytes, raw_query: bytes, claim: Claim, values: Values, payload: str
) -> bytes:
    """What was signed, made again from what came."""
    headers = [name.encode() + b":" + _trimmed(values[name]) + b"\n" for name in claim.signed_headers]
    lines = [
        method.encode(),
        _canonical_path(raw_path),
        _canonical_query(raw_query, presigned=claim.expires is not None),
        b"".join(headers),
        ";".join(claim.signed_headers).encode(),
        payload.encode(),
    ]
    return b"\n".join(lines)


def _canonical_path(raw_path: bytes) -> bytes:
    """The path, encoded once more.

    Signers drop `.`, `..` and empty segments first. We don't: a path that still has one is not what was signed, and one
    signature must not stand for many paths.
    """
    return quote_from_bytes(raw_path or b"/", safe="/-_.~").encode()


def _canonical_query(raw_query: bytes, presigned: bool) -> bytes:
    if not raw_query:
        return b""
    pairs = [
        (_quoted(name), _quoted(value))
        for name, value in query_pairs(raw_query)
        if not (presigned and name == "X-Amz-Signature")
    ]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs)).encode()


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~", errors="surrogateescape")


def _trimmed(values: list[bytes]) -> bytes:
    return b",".join(b" ".join(value.split()) for value in values)


def _check_signed_headers(claim: Claim, values: Values) -> None:
    """Host and every x-amz- header that is there must be signed, and what is signed must be there."""
    must = {"host"} | {name for name in values if name.startswith("x-amz-")}
    unsigned = sorted(must - set(claim.signed_headers))
    if unsigned:
        listed = ", ".join(repr(name[:100]) for name in unsigned)
        raise incomplete(f"{listed} must be a 'SignedHeader' in the AWS Authorization.")
    if len(values.get("host", [])) > 1:
        raise incomplete("The request has more than one Host header.")
    if any(name not in values for name in claim.signed_headers):
        raise _invalid(_MISMATCH)


def _check_time(claim: Claim, now: datetime) -> None:
    signed = claim.signed_at
    if signed > now + _SKEW:
        raise _invalid(
            f"Signature not yet current: {claim.stamp} is still later than {_stamp(now + _SKEW)} "
            f"({_stamp(now)} + 5 min.)"
        )
    if claim.expires is not None and signed + timedelta(seconds=claim.expires) < now:
        end = _stamp(signed + timedelta(seconds=claim.expires))
        raise _invalid(f"Signature expired: {end} is now earlier than {_stamp(now)} (X-Amz-Expires {claim.expires} s)")
    if claim.expires is None and signed < now - _SKEW:
        raise _invalid(
            f"Signature expired: {claim.stamp} is now earlier than {_stamp(now - _SKEW)} ({_stamp(now)} - 5 min.)"
        )


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%SZ")


def _signature(secret: str, claim: Claim, canonical: bytes) -> str:
    scope = claim.scope
    key = _signing_key(secret, scope.date, scope.region, scope.service)
    text = f"{ALGORITHM}\n{claim.stamp}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}"
    return hmac.digest(key, text.encode(), "sha256").hex()


# Derived once a day and region, as clients do. Whether the key is still good, `_key` has asked before.
@lru_cache(maxsize=256)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidSignatureException", message, 403)


def _unrecognized() -> ApiError:
    return ApiError("UnrecognizedClientException", "The security token included in the request is invalid.", 403)

"""What AWS refuses about a signed request, and ministack's own check lets pass.

Each rule is about something that whoever carries a request, or was given a presigned URL, could add or exchange without
touching the signature. A finding is AWS's code and text; ministack words it in the service's protocol.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_STAMP = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(;[!-~]*)?")
_CHECKSUM = re.compile(r"x-amz-checksum-[a-z0-9]{1,32}", re.ASCII)
_ONCE = ("authorization", "host", "x-amz-date", "date", "x-amz-security-token", "x-amz-content-sha256")
_IN_QUERY = ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-signedheaders",
             "x-amz-signature", "x-amz-security-token")  # fmt: skip
_OF_S3 = frozenset(
    {
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    }
)
_SKEW = timedelta(minutes=15)

Finding = tuple[str, str]  # AWS's code and text


class Signed(NamedTuple):
    """What a request says of its signature."""

    service: str  # of the credential's scope
    terminator: str  # of the credential's scope
    names: Sequence[str]  # of the headers that are signed
    stamp: str
    in_query: bool


def find(
    headers: Sequence[tuple[bytes, bytes]], query: Mapping[str, Sequence[str]], signed: Signed, now: datetime
) -> Finding | None:
    """What is wrong before the body has come, or None. `now` is aware."""
    return (
        _twice(headers, query)
        or _in_two_places(query, signed)
        or _terminator(signed)
        or _date(signed, now)
        or _unsigned(headers, signed)
    )


def find_in_body(headers: Mapping[str, str], body: bytes, signed: Signed | None) -> Finding | None:
    """What is wrong with the body, or None; `signed` is None for S3's version 2, which signs no body."""
    said = headers.get("x-amz-content-sha256", "")
    is_s3 = signed is None or signed.service == "s3"
    if said and not (is_s3 and (said in _OF_S3 or _SHA256.fullmatch(said))):
        if is_s3:
            return "InvalidArgument", (
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER,"
                " STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256"
                " value."
            )
        if said != hashlib.sha256(body).hexdigest():
            return "SignatureDoesNotMatch", "The value of x-amz-content-sha256 is not the SHA-256 hash of the body."
    if (
        said.startswith("STREAMING-")
        or "aws-chunked" in headers.get("content-encoding", "")
        or "x-amz-decoded-content-length" in headers
    ):
        return _trailers(headers, body)
    return None


def _twice(headers: Sequence[tuple[bytes, bytes]], query: Mapping[str, Sequence[str]]) -> Finding | None:
    sent = [name.decode("latin-1").lower() for name, _ in headers]
    for name in _ONCE:
        if sent.count(name) > 1:
            return "IncompleteSignature", f"The request has more than one {name} header."
    given = [name.lower() for name, values in query.items() for _ in values]
    for name in _IN_QUERY:
        if given.count(name) > 1:
            return "AuthorizationQueryParametersError", f"The query-string parameter {name} is there more than once."
    return None


def _in_two_places(query: Mapping[str, Sequence[str]], signed: Signed) -> Finding | None:
    if signed.in_query or not {"x-amz-algorithm", "x-amz-signature"} & {name.lower() for name in query}:
        return None
    if signed.service == "s3":
        return "InvalidArgument", (
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string"
            " parameter or the Authorization header should be specified"
        )
    return "SignatureDoesNotMatch", (
        "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."
    )


def _terminator(signed: Signed) -> Finding | None:
    if signed.terminator == "aws4_request":
        return None
    return "SignatureDoesNotMatch", (
        f"Credential should be scoped with a valid terminator: 'aws4_request', not '{signed.terminator[:64]}'."
    )


def _date(signed: Signed, now: datetime) -> Finding | None:
    """A date that can't be read would never be too old, and a presigned URL of the future would live too long."""
    at = _moment(signed.stamp)
    if at is None:
        return "IncompleteSignature", "Date must be in ISO-8601 'basic format': YYYYMMDDTHHMMSSZ."
    if not signed.in_query or at <= now + _SKEW:
        return None
    if signed.service == "s3":
        return "AccessDenied", "Request is not valid yet"
    return "SignatureDoesNotMatch", (
        f"Signature not yet current: {signed.stamp} is still later than {now + _SKEW:%Y%m%dT%H%M%SZ}"
        f" ({now:%Y%m%dT%H%M%SZ} + 15 min.)"
    )


def _moment(stamp: str) -> datetime | None:
    if not _STAMP.fullmatch(stamp):
        return None
    with suppress(ValueError):
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return None


def _unsigned(headers: Sequence[tuple[bytes, bytes]], signed: Signed) -> Finding | None:
    """The host and every x-amz- header must be signed: `x-amz-copy-source` makes a copy of what was an upload."""
    sent = {name.decode("latin-1").lower() for name, _ in headers}
    must = {"host"} | {name for name in sent if name.startswith("x-amz-")}
    unsigned = sorted(must - set(signed.names))
    if not unsigned:
        return None
    if signed.service == "s3":
        return "AccessDenied", "There were headers present in the request which were not signed"
    named = ", ".join("'Host'" if name == "host" else f"'{name[:64]}'" for name in unsigned)
    return "SignatureDoesNotMatch", f"{named} must be a 'SignedHeader' in the AWS Authorization."


def _trailers(headers: Mapping[str, str], body: bytes) -> Finding | None:
    """ministack makes headers of what follows the last chunk, which no signature covers: only checksums may be there.

    And those that were announced, in a header that is signed.
    """
    at = 0
    while True:
        end = body.find(b"\r\n", at)
        chunk = _CHUNK.fullmatch(body, at, end) if end >= 0 else None
        if chunk is None:
            return "IncompleteBody", "The request body is not in aws-chunked form, or terminated too early"
        size = int(chunk[1], 16)
        if size == 0:
            break
        at = end + 2 + size + 2
    announced = {name.strip().lower() for name in headers.get("x-amz-trailer", "").split(",")}
    for line in body[end + 2 :].split(b"\r\n"):
        name = line.partition(b":")[0].decode("latin-1").strip().lower()
        if name and name != "x-amz-trailer-signature" and not (name in announced and _CHECKSUM.fullmatch(name)):
            return "MalformedTrailerError", "The request contained trailing data that was not well-formed"
    return None

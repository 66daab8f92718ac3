"""A request's signature and all that it takes to check it, read out of its headers or its query. Nothing is verified.

Codes and texts are those of AWS's JSON services, but that no message repeats a header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from aerodrome.errors import ApiError
from aerodrome.identity.scope import (
    ALGORITHM,
    LONGEST_KEPT,
    TERMINATOR,
    Headers,
    Scope,
    parts,
    query_pairs,
    scope_of,
)

_STAMP = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_TOKEN = re.compile(r"[!-~]+", re.ASCII)
_KEY_ID = re.compile(r"[!-.0-~]{1,128}", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_IN_HEADER = ("Credential", "Signature", "SignedHeaders")
_IN_QUERY = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)
_LONGEST_PRESIGNED = 7 * 24 * 3600  # seconds, AWS's limit

Values = Mapping[str, list[bytes]]  # of headers, by lower-case name


@dataclass(frozen=True, slots=True)
class Claim:
    """A signature and all that it takes to check it."""

    scope: Scope
    signed_headers: tuple[str, ...]  # lower case, sorted
    signature: str
    stamp: str  # YYYYMMDDTHHMMSSZ
    token: str | None
    expires: int | None  # seconds after the stamp, of a presigned URL

    @property
    def signed_at(self) -> datetime:
        return _moment(self.stamp)


def by_name(headers: Headers) -> Values:
    values: dict[str, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name.decode("latin-1").lower(), []).append(value)
    return values


def parse_claim(values: Values, query: bytes, service: str) -> Claim:
    """The signature's parts, from the Authorization header or from the query of a presigned URL.

    Raises:
        ApiError: `MissingAuthenticationToken`, 403, when there is none; `IncompleteSignatureException`, 400, when it
            lacks a part or says one twice; `InvalidSignatureException`, 403, when it is in both places, or its
            credential is for another day, another service, or no region.
    """
    authorization = _texts(values, "authorization")
    pairs = query_pairs(query) if b"=" in query else []
    presigned = [name for name, _ in pairs if name in ("X-Amz-Algorithm", "X-Amz-Signature")]
    if authorization and presigned:
        raise invalid(f"Found both '{presigned[0]}' as a query-string param and 'Authorization' as HTTP header.")
    if authorization:
        return _claim_of_header(authorization, values, service)
    if presigned:
        return _claim_of_query(pairs, values, service)
    raise ApiError("MissingAuthenticationToken", "Missing Authentication Token", 403)


def incomplete(message: str) -> ApiError:
    return ApiError("IncompleteSignatureException", message, 400)


def invalid(message: str) -> ApiError:
    return ApiError("InvalidSignatureException", message, 403)


def _texts(values: Values, name: str) -> list[str]:
    return [value.decode("latin-1").strip() for value in values.get(name, ())]


def _claim_of_header(authorization: list[str], values: Values, service: str) -> Claim:
    if len(authorization) > 1:
        raise incomplete("The request has more than one Authorization header.")
    algorithm, _, rest = authorization[0].partition(" ")
    if algorithm != ALGORITHM:
        raise incomplete(f"Unsupported AWS 'algorithm' in the Authorization header: it must be {ALGORITHM}.")
    found = _once(parts(rest), "Authorization header: parameter")
    lacking = [name for name in _IN_HEADER if not found.get(name)]
    if lacking:
        raise incomplete(" ".join(f"Authorization header requires '{name}' parameter." for name in lacking))
    if len(found) > len(_IN_HEADER):
        raise incomplete(f"Authorization header: there are other parameters in it than {', '.join(_IN_HEADER)}.")
    return _claim(
        found["Credential"],
        found["SignedHeaders"],
        found["Signature"],
        _stamp_of_headers(values),
        _only(_texts(values, "x-amz-security-token"), "X-Amz-Security-Token"),
        None,
        service,
    )


def _stamp_of_headers(values: Values) -> str:
    stamp = _only(_texts(values, "x-amz-date"), "X-Amz-Date")
    if stamp is not None:
        return stamp
    date = _only(_texts(values, "date"), "Date")
    if date is None:
        raise incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    if _STAMP.fullmatch(date):
        return date
    try:
        moment = parsedate_to_datetime(date)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return moment.strftime("%Y%m%dT%H%M%SZ")
    except (ValueError, OverflowError):
        raise incomplete("The 'Date' header must be an ISO-8601 basic or an RFC 1123 date.") from None


def _claim_of_query(pairs: list[tuple[str, str]], values: Values, service: str) -> Claim:
    known = (*_IN_QUERY, "X-Amz-Security-Token")
    found = _once([pair for pair in pairs if pair[0] in known], "AWS query-string parameter")
    lacking = [name for name in _IN_QUERY if not found.get(name)]
    if lacking:
        named = " ".join(f"AWS query-string parameters must include '{name}'." for name in lacking)
        raise incomplete(f"{named} Re-examine the query-string parameters.")
    if found["X-Amz-Algorithm"] != ALGORITHM:
        raise incomplete(f"Unsupported AWS 'algorithm' in the query string: it must be {ALGORITHM}.")
    if "x-amz-security-token" in values:
        raise incomplete("The session token of a presigned URL is in its query string, not in a header.")
    expires = found["X-Amz-Expires"]
    if not (expires.isascii() and expires.isdigit() and len(expires) <= 6 and 1 <= int(expires) <= _LONGEST_PRESIGNED):
        raise incomplete(f"'X-Amz-Expires' must be a whole number of seconds, from 1 to {_LONGEST_PRESIGNED}.")
    return _claim(
        found["X-Amz-Credential"],
        found["X-Amz-SignedHeaders"],
        found["X-Amz-Signature"],
        found["X-Amz-Date"],
        found.get("X-Amz-Security-Token"),
        int(expires),
        service,
    )


def _once(pairs: list[tuple[str, str]], what: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise incomplete(f"{what} '{name[:100]}' is there more than once.")
        found[name] = value
    return found


def _claim(
    credential: str,
    signed_headers: str,
    signature: str,
    stamp: str,
    token: str | None,
    expires: int | None,
    service: str,
) -> Claim:
    if not _is_stamp(stamp):
        raise incomplete("Date must be in ISO-8601 'basic format': YYYYMMDDTHHMMSSZ.")
    names = (_names if len(signed_headers) <= LONGEST_KEPT else _names.__wrapped__)(signed_headers)
    if names is None:
        raise incomplete("SignedHeaders must be a list of lower-case header names, each once, with ';' between.")
    if token and not _TOKEN.fullmatch(token):
        raise incomplete("X-Amz-Security-Token must be printable ASCII without blanks.")
    scope = scope_of(credential)
    if scope is None or scope.service != service or scope.date != stamp[:8]:
        raise _wrong_scope(credential, stamp, service)
    return Claim(scope, names, signature, stamp, token or None, expires)


def _wrong_scope(credential: str, stamp: str, service: str) -> ApiError:
    """All that is wrong with it, in AWS's order."""
    pieces = credential.encode("ascii", "replace").decode().split("/")
    if len(pieces) != 5 or not _KEY_ID.fullmatch(pieces[0]):
        return incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."
        )
    _, date, region, named, terminator = (piece[:64] for piece in pieces)
    faults = []
    if not _REGION.fullmatch(pieces[2]):
        faults.append(f"Credential should be scoped to a valid region, not '{region}'.")
    if named != service:
        faults.append(f"Credential should be scoped to correct service: '{service}'.")
    if terminator != TERMINATOR:
        faults.append(f"Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{terminator}'.")
    if date != stamp[:8]:
        faults.append(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{date}' != '{stamp[:8]}', from '{stamp}'."
        )
    return invalid(" ".join(faults) or "Credential is too long.")


@lru_cache(maxsize=256)
def _names(signed_headers: str) -> tuple[str, ...] | None:
    """The names, sorted; None when one is there twice or isn't a name."""
    names = signed_headers.split(";")
    if len(set(names)) != len(names) or not all(map(_HEADER_NAME.fullmatch, names)):
        return None
    return tuple(sorted(names))


def _is_stamp(text: str) -> bool:
    try:
        return bool(_STAMP.fullmatch(text) and _moment(text))
    except ValueError:
        return False


@lru_cache(maxsize=64)
def _moment(stamp: str) -> datetime:
    """Of a text that has the form; `strptime` would take a tenth of the time of a whole request."""
    year, month, day = int(stamp[:4]), int(stamp[4:6]), int(stamp[6:8])
    return datetime(year, month, day, int(stamp[9:11]), int(stamp[11:13]), int(stamp[13:15]), tzinfo=UTC)


def _only(values: list[str], name: str) -> str | None:
    if len(values) > 1:
        raise incomplete(f"The request has more than one {name} header.")
    return values[0] if values else None

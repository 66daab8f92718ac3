"""What a request says about its own signature: where the claim stands, and its parts. Nothing is verified here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from aerodrome.errors import ApiError

ALGORITHM = "AWS4-HMAC-SHA256"
_TERMINATOR = "aws4_request"
_STAMP = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_CREDENTIAL = re.compile(r"([!-.0-~]{1,128})/(\d{8})/([a-z0-9-]{1,64})/([a-z0-9-]{1,64})/aws4_request", re.ASCII)
_TOKEN = re.compile(r"[!-~]+", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_PRESIGNED = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)
_LONGEST_PRESIGNED = 7 * 24 * 3600  # seconds
_LONGEST_KEPT = 512  # characters of what is remembered: strangers send it

Headers = Sequence[tuple[bytes, bytes]]  # as ASGI has them
Values = Mapping[str, list[bytes]]  # by lower-case name


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose key, and for which day, region and service, a request claims to be signed."""

    key_id: str
    date: str  # YYYYMMDD
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{_TERMINATOR}"


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


def parse_scope(headers: Headers | Mapping[str, str], query: bytes | str) -> Scope | None:
    """Whose request it claims to be, at no cost and with no promise; None when it isn't signed with SigV4."""
    if isinstance(headers, Mapping):
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    query = query.encode("latin-1") if isinstance(query, str) else query
    authorization = _values(headers, b"authorization")
    if authorization:
        algorithm, _, rest = authorization[0].partition(" ")
        return _scope(_parts(rest).get("Credential", "")) if algorithm == ALGORITHM else None
    return _scope(dict(query_pairs(query)).get("X-Amz-Credential", ""))


def by_name(headers: Headers) -> Values:
    values: dict[str, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name.decode("latin-1").lower(), []).append(value)
    return values


def parse_claim(values: Values, query: bytes) -> Claim:
    """The signature's parts, from the Authorization header or from the query of a presigned URL.

    Raises:
        ApiError: `MissingAuthenticationToken`, 403, when there is none; `IncompleteSignatureException`, 400, when it
            lacks a part. Messages name the part and never repeat the header.
    """
    authorization = _texts(values, "authorization")
    if authorization:
        return _claim_of_header(authorization, values)
    pairs = query_pairs(query)
    if any(name == "X-Amz-Signature" for name, _ in pairs):
        return _claim_of_query(pairs)
    raise ApiError("MissingAuthenticationToken", "Missing Authentication Token", 403)


def incomplete(message: str) -> ApiError:
    return ApiError("IncompleteSignatureException", message, 400)


def query_pairs(query: bytes) -> list[tuple[str, str]]:
    """Names and values, decoded once; bytes that aren't UTF-8 survive as surrogates, so that nothing is confused."""
    pairs = (item.partition(b"=") for item in query.split(b"&") if item)
    return [(_unquote(name), _unquote(value)) for name, _, value in pairs]


def _unquote(text: bytes) -> str:
    return unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-8", "surrogateescape")


def _values(headers: Headers, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in headers if key.lower() == name]


def _texts(values: Values, name: str) -> list[str]:
    return [value.decode("latin-1").strip() for value in values.get(name, ())]


def _parts(text: str) -> dict[str, str]:
    pairs = (item.strip().partition("=") for item in text.split(","))
    return {name: value for name, _, value in pairs}


def _scope(credential: str) -> Scope | None:
    """The scope, or None. What passes here is safe in a path, a host name and a log line."""
    return _scope_of(credential) if len(credential) <= _LONGEST_KEPT else None


# A client's credential and signed headers are the same all day, its stamp for a second: each is read once.
@lru_cache(maxsize=256)
def _scope_of(credential: str) -> Scope | None:
    match = _CREDENTIAL.fullmatch(credential)
    return Scope(*match.groups()) if match else None


def _claim_of_header(authorization: list[str], values: Values) -> Claim:
    if len(authorization) > 1:
        raise incomplete("The request has more than one Authorization header.")
    algorithm, _, rest = authorization[0].partition(" ")
    if algorithm != ALGORITHM:
        raise incomplete(f"Unsupported AWS 'algorithm' in the Authorization header: it must be {ALGORITHM}.")
    parts = _parts(rest)
    lacking = [name for name in ("Credential", "Signature", "SignedHeaders") if not parts.get(name)]
    if lacking:
        raise incomplete(" ".join(f"Authorization header requires '{name}' parameter." for name in lacking))
    return _claim(
        parts["Credential"],
        parts["SignedHeaders"],
        parts["Signature"],
        _stamp_of_headers(values),
        _only(_texts(values, "x-amz-security-token"), "X-Amz-Security-Token"),
        None,
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


def _claim_of_query(pairs: list[tuple[str, str]]) -> Claim:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in _PRESIGNED or name == "X-Amz-Security-Token":
            if name in found:
                raise incomplete(f"AWS query-string parameter '{name}' is there more than once.")
            found[name] = value
    lacking = [name for name in _PRESIGNED if not found.get(name)]
    if lacking:
        raise incomplete(f"AWS query-string parameters must include {', '.join(repr(name) for name in lacking)}.")
    if found["X-Amz-Algorithm"] != ALGORITHM:
        raise incomplete(f"Unsupported AWS 'algorithm' in the query string: it must be {ALGORITHM}.")
    expires = found["X-Amz-Expires"]
    if not (expires.isascii() and expires.isdigit() and len(expires) <= 6 and int(expires) <= _LONGEST_PRESIGNED):
        raise incomplete(f"'X-Amz-Expires' must be a whole number of seconds, at most {_LONGEST_PRESIGNED}.")
    return _claim(
        found["X-Amz-Credential"],
        found["X-Amz-SignedHeaders"],
        found["X-Amz-Signature"],
        found["X-Amz-Date"],
        found.get("X-Amz-Security-Token"),
        int(expires),
    )


def _claim(
    credential: str, signed_headers: str, signature: str, stamp: str, token: str | None, expires: int | None
) -> Claim:
    scope = _scope(credential)
    if scope is None:
        raise incomplete(f"Credential must have the form <access key id>/YYYYMMDD/REGION/SERVICE/{_TERMINATOR}.")
    names = (_names if len(signed_headers) <= _LONGEST_KEPT else _names.__wrapped__)(signed_headers)
    if names is None:
        raise incomplete("SignedHeaders must be a list of lower-case header names, each once, with ';' between.")
    if not _SIGNATURE.fullmatch(signature):
        raise incomplete("Signature must be 64 lower-case hexadecimal digits.")
    if token and not _TOKEN.fullmatch(token):
        raise incomplete("X-Amz-Security-Token must be printable ASCII without blanks.")
    _check_stamp(stamp, scope)
    return Claim(scope, names, signature, stamp, token or None, expires)


@lru_cache(maxsize=256)
def _names(signed_headers: str) -> tuple[str, ...] | None:
    """The names, sorted; None when one is there twice or isn't a name."""
    names = signed_headers.split(";")
    if len(set(names)) != len(names) or not all(map(_HEADER_NAME.fullmatch, names)):
        return None
    return tuple(sorted(names))


def _check_stamp(stamp: str, scope: Scope) -> None:
    if not _is_stamp(stamp):
        raise incomplete("The date of the signature must be in ISO-8601 'basic format': YYYYMMDDTHHMMSSZ.")
    if stamp[:8] != scope.date:
        raise ApiError(
            "InvalidSignatureException",
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{scope.date}' != '{stamp[:8]}', from '{stamp}'.",
            403,
        )


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

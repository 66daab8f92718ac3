"""Whose request it claims to be: the credential of its signature, and where it stands. Nothing is verified here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
LONGEST_KEPT = 512  # characters of what is remembered: strangers send it
_CREDENTIAL = re.compile(r"([!-.0-~]{1,128})/(\d{8})/([a-z0-9-]{1,64})/([a-z0-9-]{1,64})/aws4_request", re.ASCII)

Headers = Sequence[tuple[bytes, bytes]]  # as ASGI has them


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose key, and for which day, region and service, a request claims to be signed."""

    key_id: str
    date: str  # YYYYMMDD
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{TERMINATOR}"


def parse_scope(headers: Headers | Mapping[str, str], query: bytes | str) -> Scope | None:
    """Whose request it claims to be, at no cost and with no promise; None when it isn't signed with SigV4."""
    if isinstance(headers, Mapping):
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    query = query.encode("latin-1") if isinstance(query, str) else query
    authorization = _values(headers, b"authorization")
    if authorization:
        algorithm, _, rest = authorization[0].partition(" ")
        return scope_of(dict(parts(rest)).get("Credential", "")) if algorithm == ALGORITHM else None
    return scope_of(dict(query_pairs(query)).get("X-Amz-Credential", ""))


def scope_of(credential: str) -> Scope | None:
    """The scope, or None. What passes here is safe in a path, a host name and a log line."""
    return _scope_of(credential) if len(credential) <= LONGEST_KEPT else None


def query_pairs(query: bytes) -> list[tuple[str, str]]:
    """Names and values, decoded once; bytes that aren't UTF-8 survive as surrogates, so that nothing is confused."""
    pairs = (item.partition(b"=") for item in query.split(b"&") if item)
    return [(_unquote(name), _unquote(value)) for name, _, value in pairs]


def parts(text: str) -> list[tuple[str, str]]:
    """What follows the algorithm in an Authorization header: `name=value`, with commas between."""
    pairs = (item.strip().partition("=") for item in text.split(","))
    return [(name, value) for name, _, value in pairs]


def _unquote(text: bytes) -> str:
    return unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-8", "surrogateescape")


def _values(headers: Headers, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in headers if key.lower() == name]


# A client's credential is the same all day: it is read once.
@lru_cache(maxsize=256)
def _scope_of(credential: str) -> Scope | None:
    match = _CREDENTIAL.fullmatch(credential)
    return Scope(*match.groups()) if match else None

"""Headers on their way through: what is dropped, what is set, what is read. Pure.

A web server behind us believes X-Forwarded-* and X-Aerodrome-Identity: nothing that a client sends may look like them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aerodrome.relay import HOP_BY_HOP

RawHeaders = Sequence[tuple[bytes, bytes]]  # names in lower case, as ASGI has them

IDENTITY = b"x-aerodrome-identity"
PROOF = b"x-aerodrome-gateway"

_NEVER_IN = frozenset(
    (
        b"expect",
        b"forwarded",
        b"proxy",
        b"client-ip",
        b"true-client-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-real-ip",
        b"x-original-url",
        b"x-original-uri",
        b"x-original-host",
        b"x-host",
        b"x-rewrite-url",
        b"x-script-name",
        b"script-name",
        b"auth-user",
        b"x-user",
        b"x-webauth-user",
        b"x-authenticated-user",
        b"content-length",
    )
)
_NEVER_IN_PREFIXES = (b"x-forwarded", b"x-aerodrome", b"x-remote", b"remote-", b"x-proxy", b"x-auth-request")


class BadRequest(ValueError):
    """The request is malformed or ambiguous; the message says how."""


@dataclass(frozen=True, slots=True)
class Framing:
    """How long the request body is: `length` bytes, or unknown when `chunked`, or there is none."""

    length: int = 0
    chunked: bool = False

    @property
    def has_body(self) -> bool:
        return self.chunked or self.length > 0


def values(headers: RawHeaders, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


def host_header(headers: RawHeaders) -> str:
    """The one Host header.

    Raises:
        BadRequest: there is none, or more than one: two servers could disagree on which counts.
    """
    found = values(headers, b"host")
    if len(found) != 1:
        raise BadRequest("The request needs exactly one Host header.")
    return found[0].decode("latin-1")


def framing(headers: RawHeaders) -> Framing:
    """How the body is framed.

    Raises:
        BadRequest: Content-Length together with Transfer-Encoding (request smuggling), or an unknown coding.
    """
    lengths, codings = values(headers, b"content-length"), values(headers, b"transfer-encoding")
    if lengths and codings:
        raise BadRequest("A request has either Content-Length or Transfer-Encoding, not both.")
    if codings:
        if [coding.strip().lower() for coding in codings] != [b"chunked"]:
            raise BadRequest("The only Transfer-Encoding served is chunked.")
        return Framing(chunked=True)
    if not lengths:
        return Framing()
    if len(set(lengths)) != 1 or not lengths[0].isdigit():
        raise BadRequest("Content-Length is not one number.")
    return Framing(length=int(lengths[0]))


def is_upgrade(headers: RawHeaders) -> bool:
    """Whether a web socket is asked for (Airflow has none)."""
    return any(b"websocket" in value.lower() for value in values(headers, b"upgrade"))


def _nominated(headers: RawHeaders) -> frozenset[bytes]:
    return frozenset(
        name.strip().lower() for value in values(headers, b"connection") for name in value.split(b",") if name.strip()
    )


def towards_airflow(
    headers: RawHeaders, body: Framing, *, client: str, host: str, port: int
) -> list[tuple[bytes, bytes]]:
    """The client's headers as the web server gets them: Host kept, X-Forwarded-* ours, the body framed anew.

    Names with an underscore are dropped: WSGI can't tell `X_Forwarded_For` from `X-Forwarded-For`.
    """
    nominated = _nominated(headers) - {b"host", b"cookie", b"authorization"}
    kept = [
        (name, value)
        for name, value in headers
        if name not in HOP_BY_HOP
        and name not in nominated
        and name not in _NEVER_IN
        and not name.startswith(_NEVER_IN_PREFIXES)
        and b"_" not in name
    ]
    kept += forwarded(client, host, port)
    if body.chunked:
        kept.append((b"transfer-encoding", b"chunked"))
    elif body.length or values(headers, b"content-length"):
        kept.append((b"content-length", str(body.length).encode()))
    return kept


def forwarded(client: str, host: str, port: int) -> list[tuple[bytes, bytes]]:
    """What tells Airflow its public address (it runs with `--proxy-headers`, or ProxyFix on 2)."""
    return [
        (b"x-forwarded-for", client.encode("latin-1")),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", host.encode("latin-1")),
        (b"x-forwarded-port", str(port).encode()),
    ]


def towards_client(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The web server's headers without those that are about its own connection to us."""
    lowered = [(name.lower(), value) for name, value in headers]
    dropped = HOP_BY_HOP | (_nominated(lowered) - {b"set-cookie", b"content-length", b"location"})
    return [(name, value) for name, value in lowered if name not in dropped]


def cookies(headers: RawHeaders, name: str) -> list[str]:
    """Every value that a server could take for the cookie `name`; an empty one is no cookie."""
    found = []
    for header in values(headers, b"cookie"):
        for pair in header.decode("latin-1").split(";"):
            key, _, value = pair.partition("=")
            if key.strip() == name and (bare := value.strip().strip('"')):
                found.append(bare)
    return found


def bearers(headers: RawHeaders) -> list[str]:
    """Every bearer token in Authorization headers."""
    found = []
    for header in values(headers, b"authorization"):
        scheme, _, token = header.decode("latin-1").strip().partition(" ")
        if scheme.lower() == "bearer":
            found.append(token.strip())
    return found


def set_cookie(header: bytes) -> tuple[str, str]:
    """(name, value) of a Set-Cookie header; the value is empty when the cookie is being deleted."""
    first = header.decode("latin-1").partition(";")[0]
    name, _, value = first.partition("=")
    return name.strip(), value.strip().strip('"')


def fortified(header: bytes) -> bytes:
    """A Set-Cookie header of the sign-in with Secure and SameSite added where missing, and Domain taken away.

    Host-only cookies keep environments apart; HttpOnly stays as sent: Airflow 3.0's pages read their token.
    """
    parts = [part.strip() for part in header.decode("latin-1").split(";")]
    kept = [parts[0]] + [part for part in parts[1:] if part and not part.lower().startswith("domain")]
    names = {part.partition("=")[0].strip().lower() for part in kept[1:]}
    if "secure" not in names:
        kept.append("Secure")
    if "samesite" not in names:
        kept.append("SameSite=Lax")
    return "; ".join(kept).encode("latin-1")

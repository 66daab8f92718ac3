"""Names of web servers: pure functions (design: 'Web server host names')."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

from aerodrome.domain.web_server import HTTPS_PORT, PUBLIC_NET
from aerodrome.errors import Permanent

_HOST = re.compile(r"([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)\.?(?::([0-9]{1,5}))?")
_THIRD, _FOURTH = 256, 254  # 127.83.0.1 … 127.83.255.254


def loopback_address(environment_id: str, taken: Collection[str]) -> str:
    """The environment's address in `address` mode: always the same one unless it is in `taken`, then the next free.

    Raises:
        Permanent: every one of the 65,024 addresses is taken.
    """
    start = int.from_bytes(hashlib.sha256(environment_id.encode()).digest()[:4], "big")
    busy = frozenset(taken)
    for step in range(_THIRD * _FOURTH):
        third, fourth = divmod((start + step) % (_THIRD * _FOURTH), _FOURTH)
        address = f"{PUBLIC_NET}{third}.{fourth + 1}"
        if address not in busy:
            return address
    raise Permanent(
        f"No loopback address is left for environment {environment_id}: all of 127.83.0.0/16 is in use. "
        "Delete environments, or set AERODROME_WEB_HOST=name."
    )


def split_host(value: str) -> tuple[str, int] | None:
    """(lower-case host name, port) of a Host header; None when it isn't one. No port means 443."""
    match = _HOST.fullmatch(value.lower())
    if not match:
        return None
    port = int(match[2]) if match[2] else HTTPS_PORT
    return (match[1], port) if 0 < port <= 65535 else None

"""Signs requests byte for byte, the strange ones too that botocore's signer would refuse or tidy."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import quote_from_bytes, unquote_to_bytes

Headers = list[tuple[bytes, bytes]]


def signed(
    method: str,
    path: bytes,
    query: bytes = b"",
    body: bytes = b"",
    *,
    key: str = "admin",
    secret: str = "secret",  # noqa: S107 - of the tests' own account
    region: str = "eu-west-1",
    service: str = "airflow",
    at: datetime | None = None,
) -> Headers:
    """The headers of a request that is signed as AWS Signature Version 4 says."""
    stamp = (at or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    lines = [
        method.encode(),
        quote_from_bytes(path or b"/", safe="/-_.~").encode(),
        _canonical_query(query),
        b"host:localhost",
        f"x-amz-date:{stamp}".encode(),
        b"",
        b"host;x-amz-date",
        hashlib.sha256(body).hexdigest().encode(),
    ]
    digest = hashlib.sha256(b"\n".join(lines)).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    signing_key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        signing_key = hmac.digest(signing_key, part.encode(), "sha256")
    signature = hmac.digest(signing_key, text.encode(), "sha256").hex()
    claim = f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}"
    return [(b"host", b"localhost"), (b"x-amz-date", stamp.encode()), (b"authorization", claim.encode())]


def _canonical_query(query: bytes) -> bytes:
    pairs = sorted(tuple(map(_quoted, item.partition(b"=")[::2])) for item in query.split(b"&") if item)
    return b"&".join(b"=".join(pair) for pair in pairs)


def _quoted(text: bytes) -> bytes:
    return quote_from_bytes(unquote_to_bytes(text.replace(b"+", b" ")), safe="-_.~").encode()

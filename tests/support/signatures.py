"""Requests as they arrive, signed by botocore, with a table of keys that can verify them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from aerodrome.domain.principal import AccessKey, Principal
from aerodrome.errors import ApiError
from aerodrome.identity import Caller, Verifier

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ALICE = Principal("arn:aws:iam::123456789012:user/alice", "123456789012", "aws", "AIDA1")
KEYS = {
    "AKIA1": AccessKey("AKIA1", "s3cret/+", principal=ALICE),
    "AKIAOFF": AccessKey("AKIAOFF", "s3cret/+", active=False, principal=ALICE),
    "AKIANOBODY": AccessKey("AKIANOBODY", "s3cret/+"),
    "ASIA1": AccessKey("ASIA1", "temp", "token/+=1", NOW + timedelta(hours=1), principal=ALICE),
    "ASIAOLD": AccessKey("ASIAOLD", "temp", "token/+=1", NOW, principal=ALICE),
}


class Table:
    """A `PrincipalSource`."""

    def __init__(self, keys: Mapping[str, AccessKey] = KEYS) -> None:
        self._keys = keys

    async def resolve(self, key_id: str, session_token: str | None) -> AccessKey | None:
        return self._keys.get(key_id)


@dataclass(frozen=True)
class Sent:
    """What arrives: as an ASGI server hands it on."""

    method: str
    path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str, value: str) -> Sent:
        kept = [item for item in self.headers if item[0] != name.encode()]
        return replace(self, headers=[*kept, (name.encode(), value.encode())])

    def get(self, name: str) -> str:
        return dict(self.headers)[name.encode()].decode()


def sign(
    method: str = "GET",
    url: str = "http://localhost:4610/environments/sales?MaxResults=5&NextToken=a%2Bb%3D",
    body: bytes = b"",
    *,
    key: str = "AKIA1",
    secret: str = "",
    token: str | None = None,
    at: datetime = NOW,
    region: str = "eu-west-1",
    service: str = "airflow",
    signer: Callable[..., Any] = SigV4Auth,
    **headers: str,
) -> Sent:
    """A request signed by botocore."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = AWSRequest(method=method, url=url, data=body, headers=named)
    credentials = Credentials(key, secret or KEYS[key].secret, token)
    with patch("botocore.auth.get_current_datetime", return_value=at.replace(tzinfo=None)):
        signer(credentials, service, region).add_auth(request)
    parts = urlsplit(request.url)
    wire = [(name.lower().encode(), str(value).encode()) for name, value in request.headers.items()]
    wire.append((b"host", parts.netloc.encode()))
    return Sent(method, parts.path.encode(), parts.query.encode(), wire, body)


def verify(
    sent: Sent, now: datetime = NOW, *, service: str = "airflow", keys: Mapping[str, AccessKey] = KEYS
) -> Caller:
    verifier = Verifier(Table(keys), lambda: now, service=service)
    return asyncio.run(verifier.verify(sent.method, sent.path, sent.query, sent.headers, sent.body))


def refusal(sent: Sent, now: datetime = NOW, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        verify(sent, now, **options)
    return caught.value

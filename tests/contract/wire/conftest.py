"""A real boto3 client whose requests are answered in memory: the client is the oracle of our side of the protocol."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.config import Config

from aerodrome.errors import ApiError
from aerodrome.wire import Match, Reply, Wire


class _Raw(io.BytesIO):
    def stream(self) -> Iterator[bytes]:
        yield self.read()


@dataclass
class Exchange:
    """Answers every call with `answer`, after our wire has read the request."""

    wire: Wire
    answer: Mapping[str, Any] | ApiError = field(default_factory=dict)
    request: AWSPreparedRequest | None = None
    match: Match | None = None
    params: dict[str, Any] = field(default_factory=dict)

    def __call__(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        url = urlsplit(request.url)
        headers = {
            name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()
        }
        body = request.body or b""
        self.request = request
        self.match = self.wire.match(request.method, url.path.encode(), url.query)
        self.params = self.wire.parse(self.match, url.query, headers, body.encode() if isinstance(body, str) else body)
        reply = self._reply(self.match.operation)
        return AWSResponse(request.url, reply.status, HeadersDict(reply.headers), _Raw(reply.body))

    def _reply(self, operation: str) -> Reply:
        if isinstance(self.answer, ApiError):
            return self.wire.error(self.answer, "request-1")
        return self.wire.serialise(operation, self.answer, "request-1")

    def client(self, service: str, **config: Any) -> Any:
        made = boto3.client(
            service,
            region_name="eu-west-1",
            endpoint_url="http://localhost:4610",
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, **config),
        )
        made.meta.events.register(f"before-send.{service}", self)
        return made


@pytest.fixture(scope="session")
def wire() -> Wire:
    return Wire("mwaa")


@pytest.fixture(scope="session")
def exchange(wire: Wire) -> Exchange:
    return Exchange(wire)


@pytest.fixture(scope="session")
def client(exchange: Exchange) -> Any:
    return exchange.client("mwaa")

"""Whole requests of a real boto3 client, caught just before they leave, verify; so do the presigned ones."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config

from aerodrome.domain.principal import AccessKey, Principal
from aerodrome.identity import Verifier

ARN = "arn:aws:airflow:eu-west-1:123456789012:environment/x"
KEY = AccessKey("ASIA1", "secret", "token/+=", principal=Principal("arn:aws:iam::1:user/a", "1", "aws", "A"))
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("list_environments", {"NextToken": "a+b/=ü ~*'", "MaxResults": 3}),
    ("get_environment", {"Name": "a-b_c"}),
    ("update_environment", {"Name": "x", "DagS3Path": "dags/ü", "MaxWorkers": 3}),
    ("delete_environment", {"Name": "x"}),
    ("tag_resource", {"ResourceArn": ARN, "Tags": {"a": "ü"}}),
    ("untag_resource", {"ResourceArn": ARN, "tagKeys": ["b", "a b", "a"]}),
    ("list_tags_for_resource", {"ResourceArn": ARN}),
    ("create_cli_token", {"Name": "x"}),
]


class Source:
    async def resolve(self, key_id: str, session_token: str | None) -> AccessKey | None:
        return KEY if key_id == KEY.key_id else None


class Catch:
    def __init__(self) -> None:
        self.request: AWSPreparedRequest | None = None

    def __call__(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        self.request = request
        return AWSResponse(request.url, 200, {}, _Raw(b"{}"))


class _Raw(io.BytesIO):
    def stream(self) -> Iterator[bytes]:
        yield self.read()


CATCH = Catch()


@cache
def client(endpoint: str) -> Any:
    made = boto3.client(
        "mwaa",
        region_name="eu-west-1",
        endpoint_url=endpoint,
        aws_access_key_id=KEY.key_id,
        aws_secret_access_key=KEY.secret,
        aws_session_token=KEY.session_token,
        config=Config(retries={"total_max_attempts": 1}),
    )
    made.meta.events.register("before-send.mwaa", CATCH)
    return made


@pytest.mark.parametrize("endpoint", ["http://localhost:4610", "https://localhost"])
@pytest.mark.parametrize(("operation", "params"), CALLS)
async def test_every_request_of_the_client_verifies(operation: str, params: dict[str, Any], endpoint: str) -> None:
    CATCH.request = None
    getattr(client(endpoint), operation)(**params)
    assert CATCH.request is not None
    url = urlsplit(CATCH.request.url)
    headers = [(name.lower().encode(), raw(value)) for name, value in CATCH.request.headers.items()]
    headers.append((b"host", url.netloc.encode()))
    caller = await Verifier(Source(), now).verify(
        CATCH.request.method, url.path.encode(), url.query.encode(), headers, raw(CATCH.request.body or b"")
    )
    assert (caller.region, caller.key_id, caller.principal) == ("eu-west-1", "ASIA1", KEY.principal)


@pytest.mark.parametrize("endpoint", ["http://localhost:4610", "https://localhost:4610"])
async def test_a_presigned_url_of_the_client_verifies(endpoint: str) -> None:
    url = urlsplit(client(endpoint).generate_presigned_url("get_environment", {"Name": "x"}, ExpiresIn=60))
    headers = [(b"host", url.netloc.encode()), (b"accept", b"*/*")]
    caller = await Verifier(Source(), now).verify("GET", url.path.encode(), url.query.encode(), headers, b"")
    assert caller.key_id == "ASIA1"


def raw(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def now() -> datetime:
    return datetime.now(UTC)

"""S3's errors as ours."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from aerodrome.content.s3 import StaleCredentials, explain
from aerodrome.errors import AerodromeError, Permanent, Temporary


def refused(code: str, status: int) -> ClientError:
    response = {"Error": {"Code": code, "Message": "said S3."}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "ListObjectsV2")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("NoSuchBucket", 404, Permanent),
        ("AccessDenied", 403, Permanent),
        ("SomethingForbidden", 403, Permanent),
        ("PermanentRedirect", 301, Permanent),
        ("ExpiredToken", 400, StaleCredentials),
        ("InvalidAccessKeyId", 403, StaleCredentials),
        ("SlowDown", 503, Temporary),
        ("InternalError", 500, Temporary),
    ],
)
def test_what_stays_and_what_passes(code: str, status: int, kind: type[AerodromeError]) -> None:
    error = explain(refused(code, status), "my-bucket")
    assert type(error) is kind
    assert "my-bucket" in str(error)
    assert code in str(error)


def test_nobody_there_is_temporary() -> None:
    error = explain(EndpointConnectionError(endpoint_url="http://x"), "my-bucket")
    assert isinstance(error, Temporary)
    assert "my-bucket" in str(error)

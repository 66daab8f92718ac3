"""Requests to the embedded cloud that were added to, exchanged in part, or signed as AWS wouldn't take them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import httpx
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .conftest import ADMIN_KEY, ADMIN_SECRET, RunningCloud

ADMIN = Credentials(ADMIN_KEY, ADMIN_SECRET)
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
LIST_USERS = b"Action=ListUsers&Version=2010-05-08"


@pytest.fixture(scope="module")
def bucket(shared_cloud: RunningCloud) -> Iterator[Any]:
    s3 = shared_cloud.client("s3")
    s3.create_bucket(Bucket="signed")
    s3.put_object(Bucket="signed", Key="secret", Body=b"the secret")
    return s3


def ask(url: str, method: str = "GET", headers: dict[str, str] | None = None, body: bytes = b"") -> tuple[int, str]:
    answer = httpx.request(method, url, headers=headers, content=body, trust_env=False)
    return answer.status_code, answer.text


def signed(
    cloud: RunningCloud,
    service: str,
    method: str,
    path: str,
    body: bytes = b"",
    signer: Any = SigV4Auth,
    **headers: str,
) -> AWSRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = AWSRequest(method, f"{cloud.url}{path}", data=body, headers=named)
    signer(ADMIN, service, "us-east-1").add_auth(request)
    return request


def presigned(cloud: RunningCloud, key: str, method: str, at: datetime | None = None, expires: int = 300) -> str:
    request = AWSRequest(method, f"{cloud.url}/signed/{key}")
    moment = (at or datetime.now(UTC)).replace(tzinfo=None)
    with patch("botocore.auth.get_current_datetime", return_value=moment):
        S3SigV4QueryAuth(ADMIN, "s3", "us-east-1", expires=expires).add_auth(request)
    return str(request.url)


def test_a_presigned_upload_makes_no_copy_of_something_else(shared_cloud: RunningCloud, bucket: Any) -> None:
    url = presigned(shared_cloud, "upload", "PUT")
    status, text = ask(url, "PUT", {"x-amz-copy-source": "/signed/secret"})
    assert (status, "AccessDenied" in text, "not signed" in text) == (403, True, True)
    smuggled = b"0\r\nx-amz-copy-source:/signed/secret\r\n\r\n"
    status, text = ask(url, "PUT", {"content-encoding": "aws-chunked"}, smuggled)
    assert (status, "MalformedTrailerError" in text) == (400, True)
    assert bucket.list_objects_v2(Bucket="signed")["KeyCount"] == 1
    assert ask(url, "PUT", body=b"mine")[0] == 200
    assert bucket.get_object(Bucket="signed", Key="upload")["Body"].read() == b"mine"
    bucket.delete_object(Bucket="signed", Key="upload")


def test_an_upload_in_chunks_with_a_checksum_behind_is_taken(shared_cloud: RunningCloud, bucket: Any) -> None:
    headers = {
        "Content-Encoding": "aws-chunked",
        "X-Amz-Decoded-Content-Length": "4",
        "X-Amz-Trailer": "x-amz-checksum-crc32",
    }
    request = AWSRequest("PUT", f"{shared_cloud.url}/signed/chunks", headers=headers)
    with patch.object(S3SigV4Auth, "payload", lambda *_: "STREAMING-UNSIGNED-PAYLOAD-TRAILER"):
        S3SigV4Auth(ADMIN, "s3", "us-east-1").add_auth(request)
    body = b"4\r\nbody\r\n0\r\nx-amz-checksum-crc32:26gLsg==\r\n\r\n"
    status, text = ask(str(request.url), "PUT", dict(request.headers), body)
    assert status == 200, text
    assert bucket.get_object(Bucket="signed", Key="chunks")["Body"].read() == b"body"
    bucket.delete_object(Bucket="signed", Key="chunks")


def test_a_presigned_url_lives_from_when_it_was_made_and_a_week_at_most(
    shared_cloud: RunningCloud, bucket: Any
) -> None:
    assert ask(presigned(shared_cloud, "secret", "GET"))[0] == 200
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    status, text = ask(presigned(shared_cloud, "secret", "GET", tomorrow))
    assert (status, "not valid yet" in text) == (403, True)
    assert "Request has expired" in ask(presigned(shared_cloud, "secret", "GET", tomorrow - timedelta(days=2)))[1]
    for seconds in (0, 604_801):
        assert ask(presigned(shared_cloud, "secret", "GET", expires=seconds))[0] in (400, 403)


def test_a_date_that_is_none_is_refused(shared_cloud: RunningCloud) -> None:
    with patch("botocore.auth.SIGV4_TIMESTAMP", "%Y%m%dT9"):
        request = signed(shared_cloud, "iam", "POST", "/", LIST_USERS, **FORM)
    status, text = ask(str(request.url), "POST", dict(request.headers), LIST_USERS)
    assert (status, "IncompleteSignature" in text) == (400, True)


@pytest.mark.parametrize("name", ["x-amz-target", "x-amz-security-token", "x-amz-user-agent"])
def test_a_header_that_was_added_is_refused(shared_cloud: RunningCloud, name: str) -> None:
    request = signed(shared_cloud, "iam", "POST", "/", LIST_USERS, **FORM)
    headers = dict(request.headers)
    assert ask(str(request.url), "POST", headers, LIST_USERS)[0] == 200
    assert ask(str(request.url), "POST", {**headers, name: "x"}, LIST_USERS)[0] in (400, 403)


def test_outside_of_s3_a_body_cannot_be_left_out_of_the_signature(shared_cloud: RunningCloud) -> None:
    request = signed(shared_cloud, "iam", "POST", "/", LIST_USERS, X_Amz_Content_SHA256="UNSIGNED-PAYLOAD", **FORM)
    for body in (LIST_USERS, b"Action=CreateUser&Version=2010-05-08&UserName=smuggled"):
        status, text = ask(str(request.url), "POST", dict(request.headers), body)
        assert (status, "SignatureDoesNotMatch" in text) == (403, True)


def test_a_scope_with_another_end_is_refused(shared_cloud: RunningCloud) -> None:
    request = signed(shared_cloud, "iam", "POST", "/", LIST_USERS, **FORM)
    headers = dict(request.headers)
    headers["Authorization"] = headers["Authorization"].replace("/aws4_request", "/aws5_request")
    assert ask(str(request.url), "POST", headers, LIST_USERS)[0] == 403


def test_a_signature_is_in_one_place(shared_cloud: RunningCloud, bucket: Any) -> None:
    url = presigned(shared_cloud, "secret", "GET")
    request = AWSRequest("GET", url)
    S3SigV4Auth(ADMIN, "s3", "us-east-1").add_auth(request)
    status, text = ask(str(request.url), "GET", dict(request.headers))
    assert (status, "Only one auth mechanism allowed" in text) == (400, True)
    assert urlsplit(url).query

"""What the gate of the embedded cloud refuses besides ministack's own check, rule by rule."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aerodrome.aws.shim import strict
from aerodrome.aws.shim.strict import Signed

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
STAMP = "20260304T050607Z"
HOST = (b"host", b"h")
S3 = Signed("s3", "aws4_request", ["host", "x-amz-date"], STAMP, in_query=False)
IAM = S3._replace(service="iam")
URL = S3._replace(names=["host"], in_query=True)


def find(*headers: tuple[bytes, bytes], signed: Signed = S3, now: datetime = NOW, **query: list[str]) -> Any:
    named = {name.replace("_", "-"): values for name, values in query.items()}
    return strict.find([HOST, *headers], named, signed, now)


def test_what_is_signed_as_it_should_be_is_fine() -> None:
    assert find((b"X-Amz-Date", STAMP.encode()), (b"x-amzn-trace-id", b"1"), (b"accept", b"*/*")) is None
    assert find(signed=URL, X_Amz_Signature=["0"], X_Amz_Algorithm=["x"]) is None


@pytest.mark.parametrize("name", [b"authorization", b"host", b"x-amz-date", b"date", b"x-amz-security-token"])
def test_what_decides_is_there_once(name: bytes) -> None:
    assert find((name, b"1"), (name.upper(), b"2"))[0] == "IncompleteSignature"


@pytest.mark.parametrize("name", ["X_Amz_Expires", "X_Amz_Date", "X_Amz_Signature", "X_Amz_Security_Token"])
def test_so_is_what_decides_in_a_query(name: str) -> None:
    assert find(signed=URL, **{name: ["1", "2"]})[0] == "AuthorizationQueryParametersError"
    assert find(signed=URL, **{name: ["1"], name.lower(): ["2"]})[0] == "AuthorizationQueryParametersError"


def test_a_signature_is_in_one_place() -> None:
    for query in ({"X_Amz_Signature": ["0"]}, {"x_amz_algorithm": ["x"]}):
        assert find(**query)[0] == "InvalidArgument"
        assert find(signed=IAM, **query)[0] == "SignatureDoesNotMatch"


def test_the_end_of_the_scope_is_checked() -> None:
    assert "'aws5_request'" in find(signed=S3._replace(terminator="aws5_request"))[1]


@pytest.mark.parametrize(
    "stamp", ["", "20260304", "20260304T9", "2026-03-04T05:06:07Z", "20261304T050607Z", STAMP + "x"]
)
def test_a_date_that_would_never_be_too_old(stamp: str) -> None:
    assert find(signed=S3._replace(stamp=stamp))[0] == "IncompleteSignature"


def test_a_presigned_url_is_not_of_the_future() -> None:
    assert find(signed=URL, now=NOW - timedelta(minutes=15)) is None
    early = NOW - timedelta(minutes=15, seconds=1)
    assert find(signed=URL, now=early) == ("AccessDenied", "Request is not valid yet")
    assert "Signature not yet current" in find(signed=URL._replace(service="sts"), now=early)[1]
    assert find(signed=S3, now=early) is None, "of requests signed in the header, ministack refuses these"


@pytest.mark.parametrize("name", [b"x-amz-copy-source", b"X-Amz-Meta-a", b"x-amz-target", b"x-amz-acl"])
def test_a_header_that_was_added(name: bytes) -> None:
    assert find((name, b"/secret/key"))[0] == find((name, b"/secret/key"), signed=URL)[0] == "AccessDenied"
    told = find((name, b"x"), signed=IAM)
    assert told == (
        "SignatureDoesNotMatch",
        f"'{name.decode().lower()}' must be a 'SignedHeader' in the AWS Authorization.",
    )


def test_the_host_is_signed() -> None:
    assert find(signed=S3._replace(names=["x-amz-date"]))[0] == "AccessDenied"


def find_in_body(body: bytes, signed: Signed | None = S3, **headers: str) -> Any:
    return strict.find_in_body({name.replace("_", "-"): value for name, value in headers.items()}, body, signed)


HASH = hashlib.sha256(b"body").hexdigest()


@pytest.mark.parametrize(
    "said", ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "foo", HASH.upper(), "0" * 64]
)
def test_outside_of_s3_the_body_is_signed_as_it_is(said: str) -> None:
    assert find_in_body(b"body", IAM, x_amz_content_sha256=said)[0] == "SignatureDoesNotMatch"
    assert find_in_body(b"body", IAM, x_amz_content_sha256=HASH) is None
    assert find_in_body(b"body", IAM) is None


def test_s3_takes_its_own_words_and_hashes() -> None:
    assert find_in_body(b"body", x_amz_content_sha256="UNSIGNED-PAYLOAD") is None
    assert find_in_body(b"body", x_amz_content_sha256=HASH) is None  # compared where a body is signed
    for said in ("foo", HASH.upper(), "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"):
        assert find_in_body(b"body", x_amz_content_sha256=said)[0] == "InvalidArgument"


STREAM = {"x_amz_content_sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x_amz_trailer": "x-amz-checksum-crc32"}


@pytest.mark.parametrize(
    "body",
    [
        b"4\r\nbody\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
        b"4;chunk-signature=00\r\nbody\r\n0;chunk-signature=00\r\nx-amz-checksum-crc32:A\r\nx-amz-trailer-signature:0\r\n\r\n",
        b"0\r\n\r\n",
    ],
)
def test_checksums_may_follow_the_last_chunk(body: bytes) -> None:
    assert find_in_body(body, **STREAM) is None


@pytest.mark.parametrize("signed", [S3, URL, None], ids=["header", "query", "version 2"])
@pytest.mark.parametrize(
    "trigger",
    [STREAM, {"content_encoding": "gzip,aws-chunked"}, {"x_amz_decoded_content_length": "4"}],
    ids=["hash", "encoding", "length"],
)
def test_no_header_can_be_smuggled_in_behind_the_last_chunk(trigger: dict[str, str], signed: Signed | None) -> None:
    for trailer in (b"x-amz-copy-source:/secret/key", b" X-Amz-Copy-Source : /secret/key", b"content-type:x"):
        told = find_in_body(b"4\r\nbody\r\n0\r\n" + trailer + b"\r\n\r\n", signed, **trigger)
        assert told[0] == "MalformedTrailerError"
    unannounced = {**trigger, "x_amz_trailer": "x-amz-copy-source"}
    for trailer in (b"x-amz-checksum-crc32:A", b"x-amz-copy-source:/secret/key"):
        assert find_in_body(b"0\r\n" + trailer + b"\r\n\r\n", signed, **unannounced)[0] == "MalformedTrailerError"


@pytest.mark.parametrize(
    "body", [b"", b"4\r\nbody", b"x\r\n", b"-1\r\n", b"+4\r\nbody\r\n0\r\n\r\n", b"4 \r\nbody\r\n0\r\n\r\n"]
)
def test_what_isnt_in_chunks_is_refused(body: bytes) -> None:
    assert find_in_body(body, **STREAM)[0] == "IncompleteBody"

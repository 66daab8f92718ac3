"""Signatures made by botocore's own signers are accepted; any change to what was signed is not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth

from aerodrome.identity import Caller, Scope, parse_scope
from support.signatures import ALICE, NOW, Sent, refusal, sign, verify

ARN = "arn:aws:airflow:eu-west-1:123456789012:environment/x"
URLS = [
    "http://localhost:4610/environments",
    "http://api.localhost:4610/environments/sales",
    f"https://h/tags/{ARN}",
    f"https://h/tags/{ARN.replace(':', '%3A').replace('/', '%2F')}?tagKeys=b&tagKeys=a&tagKeys=a%20b",
    "https://h/environments?NextToken=%C3%BC%2F%2B%3D&MaxResults=1",
    "https://h/environments/%C3%BC~-_.a",
    "https://h/environments?flag=",
    "https://h/",
]


@pytest.mark.parametrize("signer", [SigV4Auth, SigV4QueryAuth])
@pytest.mark.parametrize("url", URLS)
def test_what_botocore_signs_is_accepted(url: str, signer: Any) -> None:
    sent = sign("PUT", url, b'{"a": 1}' if signer is SigV4Auth else b"", signer=signer, region="us-gov-west-1")
    assert verify(sent) == Caller(ALICE, "us-gov-west-1", "AKIA1")
    assert parse_scope(sent.headers, sent.query) == Scope("AKIA1", "20260304", "us-gov-west-1", "airflow")


@pytest.mark.parametrize("signer", [SigV4Auth, SigV4QueryAuth])
def test_a_session_token_is_part_of_it(signer: Any) -> None:
    assert verify(sign(key="ASIA1", token="token/+=1", signer=signer)).principal is ALICE
    for token in (None, "token/+=2", "", "token/+=1x"):
        assert refusal(sign(key="ASIA1", token=token, signer=signer)).code == "UnrecognizedClientException"
    assert refusal(sign(key="AKIA1", token="token/+=1", signer=signer)).code == "UnrecognizedClientException"


def test_headers_are_folded_as_the_signer_folds_them() -> None:
    sent = sign(X_Amz_Meta="a   b", Content_Type="application/json")
    assert verify(sent.header("x-amz-meta", "  a b ")).principal is ALICE
    assert refusal(sent.header("x-amz-meta", "ab")).code == "InvalidSignatureException"


def test_the_date_header_serves_too() -> None:
    sent = sign(Date="now")
    assert "x-amz-date" not in dict(sent.headers)
    assert verify(sent).principal is ALICE


def test_a_signed_payload_hash_must_be_the_bodys() -> None:
    body = b'{"a": 1}'
    good = sign("PUT", body=body, X_Amz_Content_SHA256=hashlib.sha256(body).hexdigest())
    assert verify(good).principal is ALICE
    wrong = sign("PUT", body=body, X_Amz_Content_SHA256=hashlib.sha256(b"").hexdigest())
    assert "x-amz-content-sha256" in refusal(wrong).message


@pytest.mark.parametrize(
    "said",
    [
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
    ],
)
def test_a_payload_that_is_unsigned_or_signed_in_pieces_is_for_s3_alone(said: str) -> None:
    error = refusal(sign("PUT", body=b"{}", X_Amz_Content_SHA256=said))
    assert (error.code, error.status) == ("InvalidSignatureException", 403)
    assert "by S3 alone" in error.message


def test_s3s_signers_are_taken_where_they_sign_the_body() -> None:
    assert verify(sign("PUT", body=b"{}", signer=S3SigV4Auth)).principal is ALICE
    assert refusal(sign(signer=S3SigV4QueryAuth)).code == "InvalidSignatureException"  # leaves the body out


def test_nothing_signed_is_a_missing_token() -> None:
    bare = Sent("GET", b"/environments", b"", [(b"host", b"h")])
    error = refusal(bare)
    assert (error.code, error.status, error.message) == (
        "MissingAuthenticationToken",
        403,
        "Missing Authentication Token",
    )
    assert parse_scope(bare.headers, bare.query) is None


@pytest.mark.parametrize(
    ("key", "secret", "code"),
    [
        ("AKIANONE", "x", "UnrecognizedClientException"),
        ("AKIAOFF", "", "UnrecognizedClientException"),
        ("AKIANOBODY", "", "UnrecognizedClientException"),
        ("AKIA1", "wrong", "InvalidSignatureException"),
    ],
)
def test_a_key_that_is_not_good(key: str, secret: str, code: str) -> None:
    error = refusal(sign(key=key, secret=secret))
    assert (error.code, error.status) == (code, 403)


def test_expired_credentials_are_named_so_only_to_their_owner() -> None:
    assert refusal(sign(key="ASIAOLD", token="token/+=1")).code == "ExpiredTokenException"
    assert refusal(sign(key="ASIAOLD", token="token/+=1", secret="x")).code == "InvalidSignatureException"


@pytest.mark.parametrize(("minutes", "seconds"), [(15, 0), (-15, 0), (14, 59)])
def test_fifteen_minutes_of_skew_are_fine(minutes: int, seconds: int) -> None:
    assert verify(sign(), NOW + timedelta(minutes=minutes, seconds=seconds)).principal is ALICE


def test_more_skew_is_not() -> None:
    late = refusal(sign(), NOW + timedelta(minutes=15, seconds=1))
    assert (late.code, late.status) == ("InvalidSignatureException", 403)
    assert late.message == (
        "Signature expired: 20260304T050607Z is now earlier than 20260304T050608Z (20260304T052108Z - 15 min.)"
    )
    early = refusal(sign(), NOW - timedelta(minutes=15, seconds=1))
    assert early.message == (
        "Signature not yet current: 20260304T050607Z is still later than 20260304T050606Z (20260304T045106Z + 15 min.)"
    )


def test_a_presigned_url_lives_as_long_as_it_says() -> None:
    sent = sign(signer=lambda *args: SigV4QueryAuth(*args, expires=900))
    assert verify(sent, NOW + timedelta(seconds=900)).principal is ALICE
    assert "Signature expired" in refusal(sent, NOW + timedelta(seconds=901)).message
    for expires in (b"604801", b"0", b"-1", b"1e3", b"", b"99999999"):
        changed = replace(sent, query=sent.query.replace(b"X-Amz-Expires=900", b"X-Amz-Expires=" + expires))
        assert refusal(changed).code == "IncompleteSignatureException"
    for repeated in (b"X-Amz-Expires=900", b"X-Amz-Credential=x", b"X-Amz-Signature=0"):
        assert refusal(replace(sent, query=sent.query + b"&" + repeated)).code == "IncompleteSignatureException"


def test_another_services_signature_is_refused() -> None:
    sent = sign(service="s3")
    assert "correct service: 'airflow'" in refusal(sent).message
    assert verify(sent, service="s3").principal is ALICE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("AWS4-HMAC-SHA256 ", "Bearer "),
        ("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 "),
        ("Credential=", "Cred="),
        ("SignedHeaders=", "Signed="),
        ("Signature=", "Sig="),
        ("/aws4_request", ""),
        ("AKIA1/", "AK IA/"),
        ("AKIA1/", "A/B/"),
        ("AKIA1/", "/"),
        ("host;x-amz-date", "host;x-amz-date;host"),
        ("host;x-amz-date", "Host;x-amz-date"),
        ("host;x-amz-date", "host;"),
        ("SignedHeaders=", "Credential=x, SignedHeaders="),
        ("SignedHeaders=", "Region=x, SignedHeaders="),
    ],
)
def test_a_signature_with_a_broken_part_is_incomplete(old: str, new: str) -> None:
    sent = sign()
    error = refusal(sent.header("authorization", sent.get("authorization").replace(old, new)))
    assert (error.code, error.status) == ("IncompleteSignatureException", 400)
    signature = sent.get("authorization")[-64:]
    assert signature not in error.message


SCOPE = "AKIA1/20260304/eu-west-1/airflow/aws4_request"
NO_SERVICE = "Credential should be scoped to correct service: 'airflow'."
NO_DATE = (
    "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
    "'{}' != '20260304', from '20260304T050607Z'."
)


@pytest.mark.parametrize(
    ("credential", "message"),
    [
        ("AKIA1/20260304/eu-west-1/s3/aws4_request", NO_SERVICE),
        ("AKIA1/20260304/eu-west-1/Airflow/aws4_request", NO_SERVICE),
        ("AKIA1/20260304/../airflow/aws4_request", "Credential should be scoped to a valid region, not '..'."),
        ("AKIA1/20260304//airflow/aws4_request", "Credential should be scoped to a valid region, not ''."),
        (
            "AKIA1/20260304/eu-west-1/airflow/aws5_request",
            "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'.",
        ),
        ("AKIA1/20260305/eu-west-1/airflow/aws4_request", NO_DATE.format("20260305")),
        ("AKIA1/2026030/eu-west-1/airflow/aws4_request", NO_DATE.format("2026030")),
        (
            "AKIA1/x/R/s3/y",
            "Credential should be scoped to a valid region, not 'R'. " + NO_SERVICE + " Credential should be scoped"
            " with a valid terminator: 'aws4_request', not 'y'. " + NO_DATE.format("x"),
        ),
        ("AKIANONE/20260304/eu-west-1/s3/aws4_request", NO_SERVICE),
    ],
)
def test_a_credential_for_something_else_is_told_what_it_is_for(credential: str, message: str) -> None:
    sent = sign()
    error = refusal(sent.header("authorization", sent.get("authorization").replace(SCOPE, credential)))
    assert (error.code, error.status, error.message) == ("InvalidSignatureException", 403, message)


@pytest.mark.parametrize("signed", ["x-amz-date", "host", "content-type"])
def test_what_decides_must_be_signed(signed: str) -> None:
    sent = sign(Content_Type="application/json")
    changed = sent.get("authorization").replace("content-type;host;x-amz-date", signed)
    error = refusal(sent.header("authorization", changed))
    assert (error.code, error.status) == ("InvalidSignatureException", 403)
    assert error.message.endswith("must be a 'SignedHeader' in the AWS Authorization.")
    assert ("'Host'" in error.message) is (signed != "host")


@pytest.mark.parametrize("signature", ["", "0" * 63, "0" * 64, "F" * 64, "\xe9" * 64])
def test_a_signature_of_any_form_is_just_wrong(signature: str) -> None:
    sent = sign()
    changed = sent.get("authorization")[:-64] + signature
    error = refusal(replace(sent.header("authorization", ""), headers=_with(sent, changed.encode("latin-1"))))
    assert error.code == ("InvalidSignatureException" if signature else "IncompleteSignatureException")


def _with(sent: Sent, authorization: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, authorization if name == b"authorization" else value) for name, value in sent.headers]


def test_a_signature_is_in_one_place() -> None:
    sent, presigned = sign(), sign(signer=SigV4QueryAuth)
    for query in (presigned.query, b"X-Amz-Algorithm=AWS4-HMAC-SHA256", b"a=b&X-Amz-Signature=0"):
        error = refusal(replace(sent, query=query))
        assert (error.code, error.status) == ("InvalidSignatureException", 403)
        assert error.message.startswith("Found both 'X-Amz-")
    token = sign(key="ASIA1", token="token/+=1", signer=SigV4QueryAuth)
    assert refusal(token.header("x-amz-security-token", "token/+=1")).code == "IncompleteSignatureException"


def test_the_same_request_may_come_again_while_its_date_is_good() -> None:
    for sent in (sign("PUT", body=b"{}"), sign(signer=SigV4QueryAuth)):
        for seconds in (0, 0, 14 * 60):
            assert verify(sent, NOW + timedelta(seconds=seconds)).principal is ALICE
        assert "Signature expired" in refusal(sent, NOW + timedelta(hours=2)).message


@pytest.mark.parametrize("stamp", ["", "20260304", "20261304T050607Z", "2026-03-04T05:06:07Z", "00000304T050607Z"])
def test_a_date_that_is_none_is_incomplete(stamp: str) -> None:
    assert refusal(sign().header("x-amz-date", stamp)).code == "IncompleteSignatureException"


def test_the_days_of_scope_and_date_must_agree() -> None:
    assert "Date in Credential scope" in refusal(sign().header("x-amz-date", "20260305T050607Z")).message


@pytest.mark.parametrize("name", ["authorization", "host", "x-amz-date"])
def test_a_header_that_decides_comes_once(name: str) -> None:
    sent = sign()
    twice = replace(sent, headers=[*sent.headers, (name.encode(), sent.get(name).encode())])
    assert refusal(twice).code == "IncompleteSignatureException"


def test_an_x_amz_header_that_was_added_on_the_way_is_refused() -> None:
    error = refusal(sign().header("x-amz-target", "x"))
    assert (error.code, "x-amz-target" in error.message) == ("InvalidSignatureException", True)
    assert verify(sign().header("x-amzn-trace-id", "added by a proxy")).principal is ALICE


def test_a_signed_header_that_was_lost_is_a_mismatch() -> None:
    sent = sign(Content_Type="application/json")
    lost = replace(sent, headers=[item for item in sent.headers if item[0] != b"content-type"])
    assert refusal(lost).code == "InvalidSignatureException"


@pytest.mark.parametrize(
    "path",
    [b"//environments/sales", b"/./environments/sales", b"/x/../environments/sales", b"/environments//sales", b"e"],
)
def test_a_path_the_signer_would_have_tidied_is_refused(path: bytes) -> None:
    assert refusal(replace(sign(), path=path)).code == "InvalidSignatureException"


def test_parse_scope_takes_plain_text_and_other_services_too() -> None:
    sent = sign(service="s3", signer=SigV4QueryAuth)
    assert parse_scope({}, sent.query.decode()) == Scope("AKIA1", "20260304", "eu-west-1", "s3")
    headers = {name.decode(): value.decode() for name, value in sign().headers}
    assert parse_scope(headers, "") == Scope("AKIA1", "20260304", "eu-west-1", "airflow")
    assert parse_scope({"Authorization": "Basic abc"}, "") is None
    assert parse_scope({"Authorization": "AWS AKIA1:abc="}, "") is None

"""Signatures made by botocore's own signers are accepted; any change to what was signed is not."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from aerodrome.domain.principal import AccessKey, Principal
from aerodrome.errors import ApiError
from aerodrome.identity import Caller, Scope, Verifier, parse_scope

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
    async def resolve(self, key_id: str, session_token: str | None) -> AccessKey | None:
        return KEYS.get(key_id)


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


def verify(sent: Sent, now: datetime = NOW, **options: Any) -> Caller:
    verifier = Verifier(Table(), lambda: now, **options)
    return asyncio.run(verifier.verify(sent.method, sent.path, sent.query, sent.headers, sent.body))


def refusal(sent: Sent, now: datetime = NOW, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        verify(sent, now, **options)
    return caught.value


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


def test_an_unsigned_payload_is_refused_unless_allowed() -> None:
    sent = sign("PUT", body=b"{}", X_Amz_Content_SHA256="UNSIGNED-PAYLOAD")
    assert refusal(sent).code == "InvalidSignatureException"
    assert verify(sent, allow_unsigned_payload=True).principal is ALICE


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


@pytest.mark.parametrize(("minutes", "seconds"), [(5, 0), (-5, 0), (4, 59)])
def test_five_minutes_of_skew_are_fine(minutes: int, seconds: int) -> None:
    assert verify(sign(), NOW + timedelta(minutes=minutes, seconds=seconds)).principal is ALICE


def test_more_skew_is_not() -> None:
    late = refusal(sign(), NOW + timedelta(minutes=5, seconds=1))
    assert (late.code, late.status) == ("InvalidSignatureException", 403)
    assert late.message == (
        "Signature expired: 20260304T050607Z is now earlier than 20260304T050608Z (20260304T051108Z - 5 min.)"
    )
    early = refusal(sign(), NOW - timedelta(minutes=5, seconds=1))
    assert early.message == (
        "Signature not yet current: 20260304T050607Z is still later than 20260304T050606Z (20260304T050106Z + 5 min.)"
    )


def test_a_presigned_url_lives_as_long_as_it_says() -> None:
    sent = sign(signer=lambda *args: SigV4QueryAuth(*args, expires=900))
    assert verify(sent, NOW + timedelta(seconds=900)).principal is ALICE
    assert "Signature expired" in refusal(sent, NOW + timedelta(seconds=901)).message
    for expires in (b"604801", b"-1", b"1e3", b"", b"99999999"):
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
        ("/aws4_request", "/aws5_request"),
        ("/eu-west-1/", "/../"),
        ("/eu-west-1/", "//"),
        ("AKIA1/", "AK IA/"),
        ("AKIA1/", "A/B/"),
        ("20260304/", "2026030/"),
        ("host;x-amz-date", "host;x-amz-date;host"),
        ("host;x-amz-date", "Host;x-amz-date"),
        ("host;x-amz-date", "x-amz-date"),
        ("host;x-amz-date", "host"),
    ],
)
def test_a_signature_with_a_broken_part_is_incomplete(old: str, new: str) -> None:
    sent = sign()
    error = refusal(sent.header("authorization", sent.get("authorization").replace(old, new)))
    assert (error.code, error.status) == ("IncompleteSignatureException", 400)
    signature = sent.get("authorization")[-64:]
    assert signature not in error.message


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
    assert (error.code, "x-amz-target" in error.message) == ("IncompleteSignatureException", True)
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


SIGNED = sign("PUT", body=b'{"MaxWorkers": 3}', Content_Type="application/json", X_Amz_Meta="a b")
PRESIGNED = sign(signer=SigV4QueryAuth)


def altered(data: st.DataObject, text: bytes) -> bytes:
    """One byte changed, dropped or put in."""
    at = data.draw(st.integers(0, max(len(text) - 1, 0)))
    byte = bytes([data.draw(st.integers(33, 126))])
    kind = data.draw(st.sampled_from(["change", "drop", "insert"]))
    rest = text[at:] if kind == "insert" else text[at + 1 :]
    return text[:at] + (b"" if kind == "drop" else byte) + rest


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.data(), st.sampled_from(["method", "path", "query", "body"]), st.sampled_from([SIGNED, PRESIGNED]))
def test_no_byte_of_the_request_can_be_changed(data: st.DataObject, part: str, sent: Sent) -> None:
    text = getattr(sent, part)
    changed = altered(data, text.encode() if isinstance(text, str) else text)
    again = replace(sent, **{part: changed.decode() if isinstance(text, str) else changed})
    assume(getattr(again, part) != text)
    # Two spellings of one query are the same query: order, hex digits in either case, an '&' too many.
    assume(part != "query" or meaning(again.query) != meaning(sent.query))
    error = refusal(again)
    assert error.code in (
        "InvalidSignatureException",
        "IncompleteSignatureException",
        "UnrecognizedClientException",
    ) or (error.code == "MissingAuthenticationToken" and sent is PRESIGNED)


def meaning(query: bytes) -> list[tuple[str, str]]:
    return sorted(parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape"))


@settings(max_examples=100, deadline=None, database=None)
@given(st.data(), st.sampled_from(["host", "content-type", "x-amz-meta", "x-amz-date"]))
def test_no_byte_of_a_signed_header_can_be_changed(data: st.DataObject, name: str) -> None:
    value = SIGNED.get(name).encode()
    changed = altered(data, value).decode()
    assume(changed.split() != value.decode().split())
    assert refusal(SIGNED.header(name, changed)).code in ("InvalidSignatureException", "IncompleteSignatureException")


@settings(max_examples=100, deadline=None, database=None)
@given(st.integers(0, 63), st.sampled_from("0123456789abcdef"))
def test_no_digit_of_the_signature_can_be_changed(at: int, digit: str) -> None:
    value = SIGNED.get("authorization")
    start = len(value) - 64 + at
    assume(value[start] != digit)
    changed = value[:start] + digit + value[start + 1 :]
    assert refusal(SIGNED.header("authorization", changed)).code == "InvalidSignatureException"


@settings(max_examples=150, deadline=None, database=None)
@given(st.binary(max_size=80), st.binary(max_size=80))
def test_garbage_is_refused_and_never_an_accident(authorization: bytes, query: bytes) -> None:
    for value in (authorization, b"AWS4-HMAC-SHA256 " + authorization):
        sent = Sent("GET", b"/", query, [(b"host", b"h"), (b"authorization", value)])
        assert refusal(sent).code in ("IncompleteSignatureException", "InvalidSignatureException")
        parse_scope(sent.headers, sent.query)
    unsigned = Sent("GET", b"/", query, [(b"host", b"h")])
    assert refusal(unsigned).code in ("MissingAuthenticationToken", "IncompleteSignatureException")


def test_parse_scope_takes_plain_text_and_other_services_too() -> None:
    sent = sign(service="s3", signer=SigV4QueryAuth)
    assert parse_scope({}, sent.query.decode()) == Scope("AKIA1", "20260304", "eu-west-1", "s3")
    headers = {name.decode(): value.decode() for name, value in SIGNED.headers}
    assert parse_scope(headers, "") == Scope("AKIA1", "20260304", "eu-west-1", "airflow")
    assert parse_scope({"Authorization": "Basic abc"}, "") is None
    assert parse_scope({"Authorization": "AWS AKIA1:abc="}, "") is None

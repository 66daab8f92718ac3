"""Signatures put together of true and false parts: none is accepted, whatever else is in them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerodrome.errors import ApiError
from aerodrome.identity import Verifier, parse_scope
from support.signatures import KEYS, NOW, Sent, Table, sign

TRUE = sign("PUT", body=b"{}")
SIGNATURE = TRUE.get("authorization")[-64:]
STATUSES = {
    "MissingAuthenticationToken": 403,
    "IncompleteSignatureException": 400,
    "InvalidSignatureException": 403,
    "UnrecognizedClientException": 403,
}
ODD = st.sampled_from(["", " ", "x", "*", "..", "\x00", "é", "=", ",", "/", ";", "0" * 64, "9" * 600]) | st.text(
    max_size=6
)


def mostly(*usual: str) -> st.SearchStrategy[str]:
    return st.sampled_from(usual) | st.sampled_from(usual) | ODD


CREDENTIALS = st.tuples(
    mostly("AKIA1", "ASIA1", "AKIAOFF", "AKIANONE"),
    mostly("20260304", "20260305"),
    mostly("eu-west-1", "us-east-1"),
    mostly("airflow", "s3"),
    mostly("aws4_request"),
).map("/".join)
PARTS: dict[str, st.SearchStrategy[str]] = {
    "Credential": CREDENTIALS | ODD,
    "SignedHeaders": st.lists(mostly("host", "x-amz-date", "x-amz-security-token", "content-type"), max_size=4).map(
        ";".join
    ),
    "Signature": mostly("0" * 64, SIGNATURE[:-1] + ("0" if SIGNATURE[-1] != "0" else "1"), "f" * 64),
}
QUERY = {
    "X-Amz-Algorithm": mostly("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
    "X-Amz-Credential": PARTS["Credential"],
    "X-Amz-Date": mostly("20260304T050607Z", "20260304T051000Z"),
    "X-Amz-Expires": mostly("900", "604800", "0", "-1"),
    "X-Amz-SignedHeaders": PARTS["SignedHeaders"],
    "X-Amz-Signature": PARTS["Signature"],
    "X-Amz-Security-Token": mostly("token/+=1"),
}
HEADERS = {
    "host": mostly("localhost:4610"),
    "x-amz-date": mostly("20260304T050607Z", "20260304T051000Z"),
    "date": mostly("Wed, 04 Mar 2026 05:06:07 GMT"),
    "x-amz-security-token": mostly("token/+=1"),
    "x-amz-content-sha256": mostly("UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
}


def some(of: dict[str, st.SearchStrategy[str]], least: int) -> st.SearchStrategy[list[tuple[str, str]]]:
    """Most of the names, in any order, some of them twice."""
    pairs = st.one_of([st.tuples(st.just(name), value) for name, value in of.items()])
    whole = st.tuples(*(st.tuples(st.just(name), value) for name, value in of.items())).map(list)
    return whole | st.lists(pairs, min_size=least, max_size=len(of) + 2)


AUTHORIZATIONS = st.builds(
    lambda algorithm, pairs, comma: algorithm + " " + comma.join(f"{name}={value}" for name, value in pairs),
    mostly("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
    some(PARTS, 1),
    st.sampled_from([", ", ","]),
)
REQUESTS: st.SearchStrategy[Sent] = st.builds(
    lambda method, query, headers, authorizations, body: Sent(
        method,
        b"/environments/sales",
        "&".join(f"{quote(name)}={quote(value, errors='surrogatepass')}" for name, value in query).encode(),
        [
            *((name.encode(), value.encode("utf-8", "surrogatepass")) for name, value in headers),
            *((b"authorization", value.encode("utf-8", "surrogatepass")) for value in authorizations),
        ],
        body,
    ),
    st.sampled_from(["GET", "PUT"]),
    st.just([]) | some(QUERY, 1),
    some(HEADERS, 1),
    st.lists(AUTHORIZATIONS, max_size=2),
    st.binary(max_size=4),
)


async def refused(sent: Sent) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await Verifier(Table(), lambda: NOW).verify(sent.method, sent.path, sent.query, sent.headers, sent.body)
    return caught.value


def attempt(examples: int) -> None:
    with asyncio.Runner() as runner:

        @settings(max_examples=examples, deadline=None, database=None)
        @given(REQUESTS)
        def forge(sent: Sent) -> None:
            error = runner.run(refused(sent))
            assert error.status == STATUSES[error.code]
            assert not any(key.secret in error.message for key in KEYS.values())
            error.message.encode()  # can be told to anybody
            parse_scope(sent.headers, sent.query)

        forge()


def test_no_forged_signature_is_accepted() -> None:
    attempt(300)


@pytest.mark.exhaustive
def test_no_forged_signature_is_accepted_however_many() -> None:
    attempt(5_000)


def test_it_would_notice_one_that_is_true() -> None:
    """What the forgeries are made like is accepted with the one right signature."""
    (authorization,) = [value.decode() for name, value in TRUE.headers if name == b"authorization"]
    whole = dict(
        zip(PARTS, ("AKIA1/20260304/eu-west-1/airflow/aws4_request", "host;x-amz-date", SIGNATURE), strict=True)
    )
    assert authorization == "AWS4-HMAC-SHA256 " + ", ".join(f"{name}={value}" for name, value in whole.items())
    verifier: Any = Verifier(Table(), lambda: NOW)
    asyncio.run(verifier.verify(TRUE.method, TRUE.path, TRUE.query, TRUE.headers, TRUE.body))
    assert asyncio.run(refused(replace(TRUE, body=b"[]"))).code == "InvalidSignatureException"

"""A signed request of which one thing was altered, whatever it is, is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from botocore.auth import SigV4QueryAuth
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from aerodrome.errors import ApiError
from aerodrome.identity import Verifier, parse_scope
from support.signatures import NOW, Sent, Table, refusal, sign

SIGNED = sign("PUT", body=b'{"MaxWorkers": 3}', Content_Type="application/json", X_Amz_Meta="a b")
PRESIGNED = sign(signer=SigV4QueryAuth)
TOKEN = sign(key="ASIA1", token="token/+=1")
PRESIGNED_TOKEN = sign(key="ASIA1", token="token/+=1", signer=SigV4QueryAuth)
REFUSALS = {
    ("MissingAuthenticationToken", 403),
    ("IncompleteSignatureException", 400),
    ("InvalidSignatureException", 403),
    ("UnrecognizedClientException", 403),
}


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


def alterations(sent: Sent) -> Iterator[Sent]:
    """Each byte of the request, one at a time, another one or left out."""
    for part in ("path", "query", "body"):
        for changed in _each_byte(getattr(sent, part)):
            yield replace(sent, **{part: changed})
    for method in _each_byte(sent.method.encode()):
        yield replace(sent, method=method.decode())
    for number, (name, value) in enumerate(sent.headers):
        rest = sent.headers[:number], sent.headers[number + 1 :]
        for changed in _each_byte(name):
            yield replace(sent, headers=[*rest[0], (changed, value), *rest[1]])
        for changed in _each_byte(value):
            yield replace(sent, headers=[*rest[0], (name, changed), *rest[1]])


def _each_byte(text: bytes) -> Iterator[bytes]:
    for at, byte in enumerate(text):
        yield text[:at] + bytes([byte ^ 1]) + text[at + 1 :]
        if byte not in b" &":  # blanks that are folded, and an '&' too many, change no meaning
            yield text[:at] + text[at + 1 :]


@pytest.mark.parametrize("sent", [SIGNED, PRESIGNED, TOKEN, PRESIGNED_TOKEN], ids=["header", "query", "token", "both"])
async def test_of_every_single_byte(sent: Sent) -> None:
    verifier = Verifier(Table(), lambda: NOW)
    await verifier.verify(sent.method, sent.path, sent.query, sent.headers, sent.body)
    accepted, codes = [], set()
    for changed in alterations(sent):
        try:
            await verifier.verify(changed.method, changed.path, changed.query, changed.headers, changed.body)
        except ApiError as error:
            codes.add((error.code, error.status))
        else:
            accepted.append(changed)
    assert accepted == []
    assert codes <= REFUSALS
    assert ("InvalidSignatureException", 403) in codes

"""Whatever is wrong with a call, the answer is AWS's: a code, a status, a request id, a message; never our insides."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aerodrome.api.middleware import BODY_LIMIT
from support.asgi import ask
from support.errors import check
from support.mwaa import ACCOUNT, GIVEN, House
from support.signing import Headers, signed

BODY = json.dumps(GIVEN).encode()
HOUR = timedelta(hours=1)
TOO_LARGE = b" " * (BODY_LIMIT + 1)


@dataclass(frozen=True)
class Case:
    """A request and the answer it must get. `sign` makes its headers: those of a good signature by default."""

    name: str
    code: str
    status: int
    method: str = "GET"
    path: bytes = b"/environments/demo"
    query: bytes = b""
    body: bytes = b""
    sign: Callable[[str, bytes, bytes, bytes], Headers] = signed
    headers: Headers = field(default_factory=list)
    words: str = ""


def unsigned(*_: object) -> Headers:
    return [(b"host", b"localhost")]


def by(**options: Any) -> Callable[..., Headers]:
    return lambda *parts: signed(*parts, **options)


def skewed(hours: int) -> Callable[..., Headers]:
    return lambda *parts: signed(*parts, at=datetime.now(UTC) + hours * HOUR)


def another(method: str = "", path: bytes = b"", query: bytes = b"", body: bytes = b"") -> Callable[..., Headers]:
    """A good signature, of something else."""
    return lambda *parts: signed(method or parts[0], path or parts[1], query or parts[2], body or parts[3])


def without_date(*parts: Any) -> Headers:
    return [header for header in signed(*parts) if header[0] != b"x-amz-date"]


def claiming(authorization: bytes) -> Callable[..., Headers]:
    return lambda *_: [(b"host", b"localhost"), (b"x-amz-date", b"20260101T000000Z"), (b"authorization", authorization)]


SERIALIZATION, VALIDATION, UNKNOWN = "SerializationException", "ValidationException", "UnknownOperationException"
SIGNATURE, INCOMPLETE = "InvalidSignatureException", "IncompleteSignatureException"
LIST, TAGS = b"/environments", f"/tags/arn:aws:airflow:eu-west-1:{ACCOUNT}:environment/demo".encode()
FORM = [(b"content-type", b"application/x-www-form-urlencoded")]
CREDENTIAL = b"AWS4-HMAC-SHA256 Credential=a/20260101/r/airflow/aws4_request"

SIGNATURES = [
    Case("unsigned", "MissingAuthenticationToken", 403, sign=unsigned),
    Case("unsigned and unknown", "MissingAuthenticationToken", 403, path=b"/environments/a/b", sign=unsigned),
    Case("unsigned and malformed", "MissingAuthenticationToken", 403, "PUT", body=b"{[", sign=unsigned),
    Case("another secret", SIGNATURE, 403, sign=by(secret="wrong")),
    Case("another method was signed", SIGNATURE, 403, "DELETE", sign=another(method="GET")),
    Case("another path was signed", SIGNATURE, 403, sign=another(path=b"/environments/other")),
    Case("another query was signed", SIGNATURE, 403, query=b"a=1", sign=another(query=b"a=2")),
    Case("another body was signed", SIGNATURE, 403, "PUT", body=BODY, sign=another(body=b"{}")),
    Case("a key nobody has", "UnrecognizedClientException", 403, sign=by(key="nobody")),
    Case("an hour slow", SIGNATURE, 403, sign=skewed(-1), words="Signature expired"),
    Case("an hour fast", SIGNATURE, 403, sign=skewed(1), words="not yet current"),
    Case("no date", INCOMPLETE, 400, sign=without_date, words="Date"),
    Case("a scheme of another world", INCOMPLETE, 400, sign=claiming(b"Bearer abc")),
    Case("half a signature", INCOMPLETE, 400, sign=claiming(CREDENTIAL)),
    Case("bytes for a signature", INCOMPLETE, 400, sign=claiming(CREDENTIAL + b", SignedHeaders=\xff, Signature=\xfe")),
]
ROUTES = [
    Case("no such path", UNKNOWN, 404, path=b"/environments/a/b"),
    Case("the root", UNKNOWN, 404, path=b"/"),
    Case("no path at all", UNKNOWN, 404, path=b""),
    Case("dots in the path", UNKNOWN, 404, path=b"/environments/../environments/demo"),
    Case("another method", UNKNOWN, 405, "POST", body=BODY, words="DELETE, GET, PATCH, PUT"),
    Case("HEAD", UNKNOWN, 405, "HEAD"),
    Case("OPTIONS", UNKNOWN, 405, "OPTIONS"),
    Case("a method of one's own", UNKNOWN, 405, "FROBNICATE"),
]
LABELS = [
    Case("percent and no digits", VALIDATION, 400, path=b"/environments/%zz"),
    Case("half a percent", VALIDATION, 400, path=b"/environments/a%2"),
    Case("no UTF-8, encoded", SERIALIZATION, 400, path=b"/environments/%ff"),
    Case("no UTF-8, bare", SERIALIZATION, 400, path=b"/environments/\xff"),
    Case("a null byte", VALIDATION, 400, path=b"/environments/a%00b"),
    Case("a name with a slash", VALIDATION, 400, path=b"/environments/a%2Fb"),
    Case("a name that is too long", VALIDATION, 400, path=b"/environments/" + b"a" * 81),
    Case("a number that is none", SERIALIZATION, 400, path=LIST, query=b"MaxResults=ten", words="maxResults"),
    Case("a number out of range", VALIDATION, 400, path=LIST, query=b"MaxResults=26", words="maxResults"),
    Case("a huge number", SERIALIZATION, 400, path=LIST, query=b"MaxResults=" + b"9" * 4000),
    Case("a query that is no UTF-8", SERIALIZATION, 400, path=LIST, query=b"NextToken=%ff"),
    Case("a query of bare bytes", SERIALIZATION, 400, path=LIST, query=b"NextToken=\xff"),
    Case("a query of many fields", SERIALIZATION, 400, path=LIST, query=b"a=1&" * 1001),
    Case("a token that was made up", VALIDATION, 400, path=LIST, query=b"NextToken=abc", words="NextToken"),
    Case("no tag keys", VALIDATION, 400, "DELETE", TAGS, words="tagKeys"),
]
BODIES = [
    Case("no body where one is needed", VALIDATION, 400, "PUT", words="dagS3Path"),
    Case("malformed JSON", SERIALIZATION, 400, "PUT", body=b'{"DagS3Path": ', words="line 1 column"),
    Case("an array", SERIALIZATION, 400, "PUT", body=b"[]", words="must be a JSON object"),
    Case("a text", SERIALIZATION, 400, "PUT", body=b'"x"', words="must be a JSON object"),
    Case("null", SERIALIZATION, 400, "PUT", body=b"null", words="must be a JSON object"),
    Case("a number in a text", SERIALIZATION, 400, "PUT", body=b'{"MaxWorkers": "3"}', words="maxWorkers"),
    Case("NaN", SERIALIZATION, 400, "PUT", body=b'{"MaxWorkers": NaN}', words="number"),
    Case("a number no double holds", SERIALIZATION, 400, "PUT", body=b'{"MaxWorkers": 1e999}', words="number"),
    Case("5000 digits", SERIALIZATION, 400, "PUT", body=b'{"MaxWorkers": ' + b"9" * 5000 + b"}", words="number"),
    Case("deep", SERIALIZATION, 400, "PUT", body=b'{"x": ' + b"[" * 400 + b"]" * 400 + b"}", words="nested"),
    Case("deep without an end", SERIALIZATION, 400, "PUT", body=b"[" * 1_000_000, words="nesting"),
    Case("not UTF-8", SERIALIZATION, 400, "PUT", body=b'{"DagS3Path": "\xff"}', words="UTF-8"),
    Case("UTF-16", SERIALIZATION, 400, "PUT", body='{"DagS3Path": "dags"}'.encode("utf-16")),
    Case("half a pair", SERIALIZATION, 400, "PUT", body=b'{"DagS3Path": "\\ud800"}', words="surrogate"),
    Case("a null character", VALIDATION, 400, "PUT", body=BODY.replace(b"dags/", b"a\\u0000"), words="null character"),
    Case("gzip", SERIALIZATION, 400, "PUT", body=b"\x1f\x8b\x08\0", headers=[(b"content-encoding", b"gzip")]),
    Case("a form", SERIALIZATION, 400, "PUT", body=b"DagS3Path=dags", headers=FORM),
    Case("too large", "RequestEntityTooLargeException", 413, "PUT", body=TOO_LARGE),
    Case(
        "too large, unsigned", "RequestEntityTooLargeException", 413, "PUT", body=b" " * (BODY_LIMIT + 1), sign=unsigned
    ),
]
OPERATIONS = [
    Case("an unknown environment", "ResourceNotFoundException", 404, words="demo not found in eu-west-1"),
    Case("not allowed", "AccessDeniedException", 403, sign=by(key="nothing"), words="airflow:GetEnvironment"),
]


@pytest.mark.parametrize("cases", [SIGNATURES, ROUTES, LABELS, BODIES, OPERATIONS], ids=lambda cases: cases[-1].name)
@pytest.mark.usefixtures("nothing_unforeseen")
async def test_every_refusal_is_awss(house: House, cases: list[Case]) -> None:
    house.account.policies["nothing"] = []
    for case in cases:
        headers = [*case.sign(case.method, case.path, case.query, case.body), *case.headers]
        answer = await ask(house.door, case.method, case.path, case.query, headers, case.body)
        found = (answer.headers.get("x-amzn-errortype"), answer.status)
        assert found == (case.code, case.status), (case.name, answer.body)
        assert case.words in check(answer), case.name
    assert await house.store.all() == []


@pytest.mark.parametrize("kind", [b"application/json", b"text/plain", b"application/x-amz-json-1.1", b"", b"\xff"])
async def test_any_content_type_is_read(house: House, kind: bytes) -> None:
    headers = [*signed("PUT", b"/environments/demo", b"", BODY), (b"content-type", kind)]
    answer = await ask(house.door, "PUT", b"/environments/demo", b"", headers, BODY)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert uuid.UUID(answer.headers["x-amzn-requestid"])


async def test_of_a_key_that_comes_twice_the_last_counts(house: House) -> None:
    body = BODY[:-1] + b', "MaxWorkers": 3, "MaxWorkers": 4}'
    answer = await ask(house.door, "PUT", LIST + b"/demo", b"", signed("PUT", LIST + b"/demo", b"", body), body)
    assert answer.status == 200
    assert (await house.call("get_environment", Name="demo"))["Environment"]["MaxWorkers"] == 4


async def test_every_request_has_an_id_of_its_own(house: House) -> None:
    answers = [await ask(house.door, "GET", LIST, b"", signed("GET", LIST)) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert len({answer.headers["x-amzn-requestid"] for answer in answers}) == 3

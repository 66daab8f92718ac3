"""What the AWS SDK for JavaScript signed (recorded: tests/e2e/node/signatures.mjs) verifies; altered, it doesn't."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aerodrome.domain.principal import AccessKey
from support.signatures import ALICE, Sent, refusal, verify

RECORDED: list[dict[str, Any]] = json.loads(Path(__file__).with_name("js_signatures.json").read_text())
KEYS = {
    "AKIAJAVASCRIPT000001": AccessKey("AKIAJAVASCRIPT000001", "long/term+secret", principal=ALICE),
    "ASIAJAVASCRIPT000001": AccessKey("ASIAJAVASCRIPT000001", "temporary/secret", "token/+=", principal=ALICE),
}


def sent(recorded: dict[str, Any]) -> Sent:
    headers = [(name.encode(), value.encode()) for name, value in recorded["headers"].items()]
    path, query, body = (recorded[part].encode() for part in ("path", "query", "body"))
    return Sent(recorded["method"], path, query, headers, body)


@pytest.mark.parametrize("recorded", RECORDED, ids=[recorded["name"] for recorded in RECORDED])
def test_what_it_signs_is_accepted_and_nothing_else(recorded: dict[str, Any]) -> None:
    request = sent(recorded)
    caller = verify(request, keys=KEYS)
    assert (caller.principal, caller.region) == (ALICE, "eu-west-1")
    for altered in (
        replace(request, method="HEAD"),
        replace(request, path=request.path + b"x"),
        replace(request, query=request.query + b"&x=y"),
        replace(request, body=request.body + b" "),
        request.header("host", "localhost:4611"),
        request.header("x-amz-target", "x"),
    ):
        assert refusal(altered, keys=KEYS).code == "InvalidSignatureException"

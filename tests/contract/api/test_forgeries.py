"""Somebody on this machine tries keys and signatures, over real sockets: nothing but refusals, each like the other."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from support.mwaa import House
from support.signing import Headers, signed

ATTEMPTS = 400
PATHS = ["/environments", "/environments/demo", "/clitoken/demo", "/webtoken/demo", "/restapi/demo"]


def forgeries(seed: int) -> Iterator[tuple[str, Headers]]:
    """(path, headers): a good request's headers with the key, the signature or one digit of it made up."""
    chance = random.Random(seed)  # noqa: S311 - the same forgeries in every run
    while True:
        path = chance.choice(PATHS)
        method = "GET" if path.startswith("/environments") else "POST"
        kind = chance.choice(["unknown key", "wrong secret", "digit", "made up", "another path"])
        key = f"AKIA{chance.getrandbits(64):016X}" if kind == "unknown key" else "admin"
        secret = f"{chance.getrandbits(160):040x}" if kind == "wrong secret" else "secret"
        headers = signed(method, b"/other" if kind == "another path" else path.encode(), key=key, secret=secret)
        claim = headers[-1][1]
        if kind == "digit":
            at = chance.randrange(64)
            digit = b"%x" % (int(claim[at - 64 : at - 63 or None], 16) ^ chance.randrange(1, 16))
            claim = claim[: at - 64] + digit + claim[len(claim) - 63 + at :]
        elif kind == "made up":
            claim = claim[:-64] + f"{chance.getrandbits(256):064x}".encode()
        yield path, [*headers[:-1], (b"authorization", claim)]


@pytest.mark.usefixtures("nothing_unforeseen")
async def test_guessing_keys_and_signatures_gets_nothing_but_403(house: House) -> None:
    made = forgeries(seed=6)
    answers: Counter[tuple[str, int]] = Counter()
    async with httpx.AsyncClient(base_url=house.url, trust_env=False) as client:

        async def attempt() -> None:
            path, headers = next(made)
            method = "GET" if path.startswith("/environments") else "POST"
            answer = await client.request(method, path, headers=headers)
            answers[answer.headers["x-amzn-errortype"], answer.status_code] += 1

        for _ in range(ATTEMPTS // 20):
            await asyncio.gather(*(attempt() for _ in range(20)))
        own = signed("GET", b"/environments")
        assert (await client.get("/environments", headers=own)).status_code == 200
    assert set(answers) == {("InvalidSignatureException", 403), ("UnrecognizedClientException", 403)}
    assert answers.total() == ATTEMPTS


async def test_an_unknown_key_and_a_wrong_signature_differ_in_awss_code_and_words_alone(house: House) -> None:
    async with httpx.AsyncClient(base_url=house.url, trust_env=False) as client:
        told = [
            await client.get("/environments", headers=signed("GET", b"/environments", **options))
            for options in ({"key": "AKIANOBODY"}, {"secret": "wrong"})
        ]
    unknown, wrong = told
    varying = {"x-amzn-requestid", "x-amzn-errortype", "content-length", "date"}
    same = [{name: value for name, value in each.headers.items() if name not in varying} for each in told]
    assert same[0] == same[1]
    assert unknown.status_code == wrong.status_code == 403
    assert unknown.headers.keys() == wrong.headers.keys()
    assert unknown.json().keys() == wrong.json().keys()
    assert unknown.json()["message"] == "The security token included in the request is invalid."
    assert wrong.json()["message"].startswith("The request signature we calculated does not match")

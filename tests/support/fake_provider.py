"""An identity provider in memory, which signs with real keys and can be told to lie."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

ISSUER = "https://id.example.com/realms/staff"
CLIENT_ID = "aerodrome"
ALL = JWSRegistry(algorithms=["RS256", "ES256", "HS256", "none"])
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}, auto_kid=False)
OTHER = RSAKey.generate_key(2048, {"kid": "two", "use": "sig"}, auto_kid=False)
CURVE = ECKey.generate_key("P-256", {"kid": "three", "use": "sig"}, auto_kid=False)


class Endless(httpx.AsyncByteStream):
    """A body without an end, in pieces, `pause` seconds between two."""

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(self.pause)
            self.sent += 65536
            yield b" " * 65536


@dataclass
class FakeProvider:
    """Answers like Keycloak. `claims` come on top of what is right, `answers` (by path) take its answers' place."""

    now: Callable[[], float]
    key: Any = field(default_factory=lambda: KEY)
    header: dict[str, Any] = field(default_factory=lambda: {"alg": "RS256", "kid": "one"})
    published: list[Any] = field(default_factory=lambda: [KEY])
    claims: dict[str, Any] = field(default_factory=dict)
    without: set[str] = field(default_factory=set)
    userinfo: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, httpx.Response | Exception] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    tamper: Callable[[str], str] = str
    issued: int = 0

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._streamed)

    async def _streamed(self, request: httpx.Request) -> httpx.Response:
        """Bodies as from a socket: not there before they are read."""
        answer = await self.handle(request)
        if not answer.is_stream_consumed:
            return answer
        return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content))

    def asked(self, end: str) -> list[httpx.Request]:
        return [each for each in self.requests if each.url.path.endswith(end)]

    def authorize(self, url: str) -> dict[str, str]:
        """Somebody signs in there: the query that the browser is sent back with."""
        asked = dict(parse_qsl(urlsplit(url).query))
        assert url.startswith(f"{ISSUER}/auth?")
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT_ID)
        assert asked["code_challenge_method"] == "S256"
        self.issued += 1
        code = f"c0de-{self.issued}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": ISSUER}

    async def handle(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        end = request.url.path.removeprefix("/realms/staff")
        if (told := self.answers.get(end)) is not None:
            if isinstance(told, Exception):
                raise told
            return told
        if end == "/.well-known/openid-configuration":
            return httpx.Response(200, json=self._document())
        if end == "/keys":
            keys = [each if isinstance(each, dict) else each.as_dict(private=False) for each in self.published]
            return httpx.Response(200, json={"keys": keys})
        if end == "/token":
            return self._token({name: each[0] for name, each in parse_qs(request.content.decode()).items()})
        if end == "/userinfo":
            assert request.headers["authorization"] == "Bearer acc3ss"
            return httpx.Response(200, json=self.userinfo)
        return httpx.Response(404, json={})

    def _document(self) -> dict[str, Any]:
        usual = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/auth",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys",
            "userinfo_endpoint": f"{ISSUER}/userinfo",
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256", "none"],
            "authorization_response_iss_parameter_supported": True,
        }
        return {name: each for name, each in {**usual, **self.document}.items() if each is not None}

    def _token(self, form: dict[str, str]) -> httpx.Response:
        asked = self.codes.pop(form["code"], None)  # once
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        right = asked and (asked["redirect_uri"], asked["code_challenge"]) == (form["redirect_uri"], challenge.decode())
        if asked is None or not right:
            return httpx.Response(400, json={"error": "invalid_grant"})
        now = int(self.now())
        claims = {
            "iss": ISSUER,
            "sub": "5ub",
            "aud": CLIENT_ID,
            "exp": now + 300,
            "iat": now,
            "nonce": asked["nonce"],
            "preferred_username": "Ann",
            "groups": ["data-eng"],
            **self.claims,
        }
        claims = {name: each for name, each in claims.items() if name not in self.without}
        text = self.tamper(jwt.encode(self.header, claims, self.key, registry=ALL))
        return httpx.Response(200, json={"id_token": text, "access_token": "acc3ss", "token_type": "Bearer"})


def unsigned(text: str) -> str:
    """The token without its signature, and with a header that says so."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    return f"{header}.{text.split('.')[1]}."


def signed_with_the_public_key(text: str) -> str:
    """As a token that a server checks with HS256 and the public key's text for its secret. joserfc won't make one."""
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').rstrip(b"=").decode()
    body = f"{header}.{text.split('.')[1]}"
    mac = hmac.digest(KEY.as_pem(private=False), body.encode(), "sha256")
    return f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

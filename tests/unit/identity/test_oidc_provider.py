"""What a provider may say, and what nobody may say in its name."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from joserfc.jwk import OctKey, RSAKey

from aerodrome.identity.oidc.asking import Asking
from aerodrome.identity.oidc.attempts import LIFETIME, Attempts
from aerodrome.identity.oidc.config import OidcConfig, mappings_of
from aerodrome.identity.oidc.errors import ProviderAway, SignInError
from aerodrome.identity.oidc.id_token import keys_of
from aerodrome.identity.oidc.provider import Attempt, Provider
from support.fake_provider import (
    CLIENT_ID,
    CURVE,
    ISSUER,
    KEY,
    OTHER,
    Endless,
    FakeProvider,
    signed_with_the_public_key,
    unsigned,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BACK = "https://demo.example.com/aws_mwaa/oidc/callback"
MAPPINGS = mappings_of('[{"group": "data-eng", "role": "User"}]')


class Desk:
    """The provider as we see it, and as it is."""

    def __init__(self, **config: Any) -> None:
        self.fake = FakeProvider(NOW.timestamp)
        self.clock = 1000.0
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.asking = Asking(trust, transport=self.fake.transport, timeout=0.5, size=64 * 1024)
        values: dict[str, Any] = {"issuer": ISSUER, "client_id": CLIENT_ID, "mappings": MAPPINGS, **config}
        self.provider = Provider(OidcConfig(**values), self.asking, lambda: NOW, clock=lambda: self.clock)
        self.attempts = Attempts(b"key", lambda: NOW)
        self.attempt = self.attempts.begin("e", BACK, "/")[0].attempt

    async def sign_in(self, attempt: Attempt | None = None) -> Any:
        url = await self.provider.authorization_url(self.attempt)
        return await self.provider.person(self.fake.authorize(url)["code"], attempt or self.attempt)

    async def refused(self) -> str:
        with pytest.raises(SignInError) as caught:
            await self.sign_in()
        text = str(caught.value)
        assert not any(secret in text for secret in ("c0de", "acc3ss", "eyJ", self.attempt.verifier))
        return text


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def desk(**config: Any) -> Desk:
        made.append(Desk(**config))
        return made[-1]

    yield desk
    for each in made:
        await each.asking.close()


@pytest.fixture
def desk(make: Callable[..., Desk]) -> Desk:
    return make()


async def test_a_person_has_a_name_and_groups(desk: Desk) -> None:
    person = await desk.sign_in()
    assert (person.issuer, person.subject, person.name) == (ISSUER, "5ub", "Ann")
    assert person.groups == {"data-eng"}
    token = desk.fake.asked("/token")[0]
    assert token.headers["content-type"] == "application/x-www-form-urlencoded"
    assert f"client_id={CLIENT_ID}" in token.content.decode()
    assert "authorization" not in token.headers
    assert desk.fake.asked("/userinfo") == []


async def test_elliptic_keys_will_do_as_well(desk: Desk) -> None:
    desk.fake.key, desk.fake.header, desk.fake.published = CURVE, {"alg": "ES256", "kid": "three"}, [KEY, CURVE]
    assert (await desk.sign_in()).subject == "5ub"


def _resigned(fake: FakeProvider) -> None:
    fake.key = OTHER  # under the name of the real one


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (lambda fake: setattr(fake, "tamper", unsigned), "Unsupported"),
        (lambda fake: setattr(fake, "tamper", signed_with_the_public_key), "Unsupported"),
        (lambda fake: setattr(fake, "tamper", lambda text: text[:-8] + "AAAAAAAA"), "BadSignature"),
        (lambda fake: setattr(fake, "tamper", lambda text: text.split(".")[0]), "not valid"),
        (lambda fake: setattr(fake, "tamper", lambda text: "é" + text), "not valid"),
        (_resigned, "BadSignature"),
        (lambda fake: fake.claims.update(iss="https://evil.example.com"), "iss"),
        (lambda fake: fake.claims.update(aud="another"), "aud"),
        (lambda fake: fake.claims.update(aud=[CLIENT_ID, "another"]), "azp"),
        (lambda fake: fake.claims.update(aud=[CLIENT_ID, "another"], azp="another"), "azp"),
        (lambda fake: fake.claims.update(azp="another"), "azp"),
        (lambda fake: fake.claims.update(exp=int(NOW.timestamp()) - 61), "Expired"),
        (lambda fake: fake.claims.update(nbf=int(NOW.timestamp()) + 120), "nbf"),
        (lambda fake: fake.claims.update(iat=int(NOW.timestamp()) + 120), "iat"),
        (lambda fake: fake.claims.update(exp="never"), "exp"),
        (lambda fake: fake.claims.update(nonce="of another sign-in"), "nonce"),
        (lambda fake: fake.claims.update(nonce=["of another sign-in"]), "nonce"),
        (lambda fake: fake.claims.update(sub=7), "sub"),
        (lambda fake: fake.claims.update(sub=""), "sub"),
        (lambda fake: fake.claims.update(at_hash="AAAA"), "at_hash"),
        *[
            (lambda fake, name=name: fake.without.add(name), name)
            for name in ("iss", "aud", "exp", "iat", "sub", "nonce")
        ],
    ],
)
async def test_no_id_token_but_the_right_one_is_believed(desk: Desk, lie: Callable[[Any], None], words: str) -> None:
    lie(desk.fake)
    text = await desk.refused()
    assert "ID token is not valid" in text
    assert words in text


async def test_clocks_may_differ_by_a_minute(desk: Desk) -> None:
    now = int(NOW.timestamp())
    desk.fake.claims |= {"exp": now - 50, "nbf": now + 50, "iat": now + 50}
    assert (await desk.sign_in()).subject == "5ub"


async def test_several_audiences_are_fine_when_we_are_the_authorized_party(desk: Desk) -> None:
    desk.fake.claims |= {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID}
    assert (await desk.sign_in()).subject == "5ub"


async def test_a_symmetric_key_in_the_public_set_signs_nothing(desk: Desk) -> None:
    """Even when the provider's own documents ask for it."""
    shared = OctKey.generate_key(256, {"kid": "one", "use": "sig"}, auto_kid=False)
    desk.fake.published = [{**shared.as_dict(private=True)}]
    desk.fake.key, desk.fake.header = shared, {"alg": "HS256", "kid": "one"}
    assert "not valid" in await desk.refused()


def test_of_a_key_set_only_public_keys_for_signatures_are_taken() -> None:
    shared = OctKey.generate_key(256, {"kid": "s"}, auto_kid=False).as_dict(private=True)
    sealing = {**OTHER.as_dict(private=False), "use": "enc"}
    assert [key.kid for key in keys_of({"keys": [shared, sealing, KEY.as_dict(private=False)]})] == ["one"]
    assert list(keys_of({"keys": "none"})) == []


@pytest.mark.filterwarnings("ignore:Key size:joserfc.errors.SecurityWarning")
async def test_a_short_key_signs_nothing(desk: Desk) -> None:
    desk.fake.key = RSAKey.generate_key(1024, {"kid": "one"}, auto_kid=False)
    desk.fake.published = [desk.fake.key]
    assert "not among its public ones" in await desk.refused()


async def test_keys_that_cannot_be_read_are_left_out(desk: Desk) -> None:
    odd = [{"kty": "RSA"}, {"kty": "new"}, "?", {"kty": "EC", "crv": "P-999", "x": "", "y": ""}, {}]
    desk.fake.published = [each for each in odd if isinstance(each, dict)] + [KEY]
    assert (await desk.sign_in()).subject == "5ub"


async def test_a_new_key_is_found_when_a_token_needs_it(desk: Desk) -> None:
    await desk.sign_in()
    desk.clock += 60
    desk.fake.published = [OTHER, KEY]
    desk.fake.key, desk.fake.header = OTHER, {"alg": "RS256", "kid": "two"}
    assert (await desk.sign_in()).subject == "5ub"
    assert len(desk.fake.asked("/keys")) == 2
    await desk.sign_in()
    assert len(desk.fake.asked("/keys")) == 2


async def test_a_key_that_is_nowhere_is_not_looked_for_again_and_again(desk: Desk) -> None:
    desk.fake.key, desk.fake.header = OTHER, {"alg": "RS256", "kid": "two"}
    for _ in range(3):
        assert "not among its public ones" in await desk.refused()
    assert len(desk.fake.asked("/keys")) == 1
    desk.clock += 6
    await desk.refused()
    assert len(desk.fake.asked("/keys")) == 2


async def test_a_key_that_was_taken_back_is_believed_for_an_hour_at_most(desk: Desk) -> None:
    await desk.sign_in()
    desk.fake.published = [OTHER]
    desk.clock += 3601
    assert "not among its public ones" in await desk.refused()


async def test_a_code_of_another_sign_in_buys_nothing(desk: Desk) -> None:
    """Injected: the thief has the code, not the verifier of the browser that asked for it."""
    url = await desk.provider.authorization_url(desk.attempt)
    code = desk.fake.authorize(url)["code"]
    other = desk.attempts.begin("e", BACK, "/")[0].attempt
    with pytest.raises(SignInError, match="invalid_grant"):
        await desk.provider.person(code, other)


async def test_a_code_is_worth_nothing_the_second_time(desk: Desk) -> None:
    url = await desk.provider.authorization_url(desk.attempt)
    code = desk.fake.authorize(url)["code"]
    await desk.provider.person(code, desk.attempt)
    with pytest.raises(SignInError, match="invalid_grant"):
        await desk.provider.person(code, desk.attempt)


@pytest.mark.parametrize(
    ("document", "named", "believed"),
    [
        ({}, ISSUER, True),
        ({}, None, False),
        ({}, "https://evil.example.com", False),
        ({"authorization_response_iss_parameter_supported": None}, None, True),
        ({"authorization_response_iss_parameter_supported": None}, "https://evil.example.com", False),
    ],
)
async def test_answers_of_another_provider_are_refused(desk: Desk, document: Any, named: Any, believed: bool) -> None:
    """RFC 9207: mix-up."""
    desk.fake.document = document
    if believed:
        await desk.provider.check_issuer(named)
    else:
        with pytest.raises(SignInError, match=r"does not come from id\.example\.com"):
            await desk.provider.check_issuer(named)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"issuer": "https://evil.example.com"}, "of another issuer"),
        ({"issuer": None}, "of another issuer"),
        ({"token_endpoint": "http://id.example.com/token"}, "no https URL as token_endpoint"),
        ({"jwks_uri": "file:///etc/passwd"}, "no https URL as jwks_uri"),
        ({"jwks_uri": "https:///keys"}, "no https URL as jwks_uri"),
        ({"userinfo_endpoint": "http://127.0.0.1:4610/"}, "no https URL as userinfo_endpoint"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "no https URL as authorization_endpoint"),
        ({"authorization_endpoint": ["https://id.example.com"]}, "no https URL as authorization_endpoint"),
        ({"token_endpoint": "https://user@id.example.com/token"}, "no https URL as token_endpoint"),
        ({"id_token_signing_alg_values_supported": ["HS256", "none"]}, "no algorithm that is accepted"),
    ],
)
async def test_a_discovery_document_that_leads_astray_is_refused(desk: Desk, document: Any, words: str) -> None:
    desk.fake.document = document
    with pytest.raises(ProviderAway, match=words):
        await desk.provider.authorization_url(desk.attempt)
    assert [each.url.path for each in desk.fake.requests] == ["/realms/staff/.well-known/openid-configuration"]


async def test_a_slash_at_the_end_of_the_issuer_is_the_providers_business(desk: Desk) -> None:
    desk.fake.document = {"issuer": ISSUER + "/"}
    desk.fake.claims = {"iss": ISSUER + "/"}
    assert (await desk.sign_in()).issuer == ISSUER


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys", "/token", "/userinfo"])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: httpx.Response(200, stream=Endless()), "sent more than 64 KB"),
        (lambda: httpx.Response(200, stream=Endless(pause=0.1)), "did not answer in|sent more than"),
        (lambda: httpx.Response(302, headers={"location": "https://127.0.0.1:4610/"}), "answered 302 without a JSON"),
        (lambda: httpx.Response(200, text="<html>"), "answered 200 without a JSON"),
        (lambda: httpx.Response(200, text="[" * 60000), "answered 200 without a JSON"),
        (lambda: httpx.Response(200, json=["no object"]), "answered 200 without a JSON"),
        (lambda: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Endless()), "compressed"),
        (lambda: httpx.ConnectError("refused"), "can't be reached"),
        (lambda: httpx.Response(500, json={}), "answered 500|did not accept"),
    ],
)
async def test_no_answer_takes_us_in(desk: Desk, path: str, answer: Callable[[], Any], words: str) -> None:
    desk.fake.answers[path] = answer()
    desk.fake.without = {"groups"}  # so that it is asked for them
    began = time.monotonic()
    with pytest.raises(SignInError, match=words):
        await desk.sign_in()
    assert time.monotonic() - began < 5
    assert {each.url.host for each in desk.fake.requests} == {"id.example.com"}


async def test_an_answer_that_never_comes_is_not_waited_for(desk: Desk) -> None:
    class Silent(Endless):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            await asyncio.sleep(60)
            yield b""

    desk.fake.answers["/token"] = httpx.Response(200, stream=Silent())
    assert "did not answer in" in await desk.refused()


async def test_many_who_come_at_once_ask_for_the_documents_once(desk: Desk) -> None:
    await asyncio.gather(*(desk.provider.authorization_url(desk.attempt) for _ in range(20)))
    assert len(desk.fake.requests) == 2


async def test_many_who_come_while_it_hangs_wait_as_long_as_one(desk: Desk) -> None:
    class Silent(Endless):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            await asyncio.sleep(60)
            yield b""

    desk.fake.answers["/keys"] = httpx.Response(200, stream=Silent())
    began = time.monotonic()
    asked = [desk.provider.authorization_url(desk.attempt) for _ in range(20)]
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(each) for each in told} == {ProviderAway}
    assert time.monotonic() - began < 2
    assert len(desk.fake.requests) == 2
    del desk.fake.answers["/keys"]
    desk.clock += 2
    assert await desk.provider.authorization_url(desk.attempt)


@pytest.mark.parametrize(
    ("methods", "header", "body"),
    [
        (None, True, False),
        (["client_secret_basic", "client_secret_post"], True, False),
        (["client_secret_post"], False, True),
    ],
)
async def test_the_secret_is_shown_as_the_provider_wants_it(
    make: Callable[..., Desk], methods: Any, header: bool, body: bool
) -> None:
    desk = make(client_secret="s3:cret/+%")  # as a form has it: s3%3Acret%2F%2B%25
    desk.fake.document = {"token_endpoint_auth_methods_supported": methods}
    await desk.sign_in()
    request = desk.fake.asked("/token")[0]
    expected = "Basic YWVyb2Ryb21lOnMzJTNBY3JldCUyRiUyQiUyNQ=="
    assert request.headers.get("authorization") == (expected if header else None)
    assert ("client_secret=s3%3Acret%2F%2B%25" in request.content.decode()) is body


async def test_a_wrong_secret_is_named_as_such(desk: Desk) -> None:
    desk.fake.answers["/token"] = httpx.Response(401, json={"error": "invalid_client"})
    assert "check AERODROME_OIDC_CLIENT_ID" in await desk.refused()


async def test_what_a_provider_says_is_not_repeated(desk: Desk) -> None:
    desk.fake.answers["/token"] = httpx.Response(400, json={"error": "c0de <script>", "error_description": "eyJ"})
    assert "an error without a code" in await desk.refused()


async def test_groups_that_the_token_lacks_are_asked_for(desk: Desk) -> None:
    desk.fake.without = {"groups"}
    desk.fake.userinfo = {"sub": "5ub", "groups": ["ops"], "preferred_username": "mallory"}
    person = await desk.sign_in()
    assert (person.groups, person.name) == ({"ops"}, "Ann")


async def test_userinfo_of_another_user_is_refused(desk: Desk) -> None:
    desk.fake.without = {"groups"}
    desk.fake.userinfo = {"sub": "other", "groups": ["ops"]}
    assert "about another user" in await desk.refused()


async def test_no_groups_at_all_are_no_groups(desk: Desk) -> None:
    desk.fake.without = {"groups"}
    desk.fake.document = {"userinfo_endpoint": None}
    assert (await desk.sign_in()).groups == frozenset()


@pytest.mark.parametrize(
    ("value", "groups"), [("one", {"one"}), (["a", 7, None, "b"], {"a", "b"}), ({"a": 1}, set()), (7, set())]
)
async def test_groups_are_texts(desk: Desk, value: Any, groups: set[str]) -> None:
    desk.fake.claims = {"groups": value}
    assert (await desk.sign_in()).groups == groups


async def test_too_many_groups_for_a_token_are_told_as_such(desk: Desk) -> None:
    """Entra's way: the claim is elsewhere."""
    desk.fake.without = {"groups"}
    desk.fake.userinfo = {"sub": "5ub"}
    desk.fake.claims = {"_claim_names": {"groups": "src1"}}
    assert "too many of them" in await desk.refused()


@pytest.mark.parametrize(
    ("claims", "without", "name"),
    [
        ({"email": "ann@example.com"}, set(), "Ann"),
        ({"email": "ann@example.com"}, {"preferred_username"}, "ann@example.com"),
        ({"email": "ann@example.com", "email_verified": False}, {"preferred_username"}, "5ub"),
        ({"preferred_username": "  "}, set(), "5ub"),
        ({"preferred_username": 7}, set(), "5ub"),
    ],
)
async def test_what_people_are_called(desk: Desk, claims: Any, without: set[str], name: str) -> None:
    desk.fake.claims, desk.fake.without, desk.fake.userinfo = claims, without, {"sub": "5ub"}
    assert (await desk.sign_in()).name == name


async def test_the_claim_that_was_asked_for_or_nothing(make: Callable[..., Desk]) -> None:
    desk = make(user_claim="upn", groups_claim="roles")
    desk.fake.userinfo = {"sub": "5ub"}
    assert "no claim upn, which AERODROME_OIDC_USER_CLAIM" in await desk.refused()
    desk.fake.claims = {"upn": "ann@corp", "roles": ["r"]}
    person = await desk.sign_in()
    assert (person.name, person.groups) == ("ann@corp", {"r"})


@pytest.mark.parametrize("name", ["ann\nERROR forged line", "a" * 513, "a\u202eb"])
async def test_names_that_are_no_names_are_refused(desk: Desk, name: str) -> None:
    desk.fake.claims = {"preferred_username": name}
    assert "no name" in await desk.refused()


def test_a_cookie_is_good_for_its_environment_host_and_time() -> None:
    now = [NOW]
    attempts = Attempts(b"key", lambda: now[0])
    begun, cookie = attempts.begin("e", BACK, "/dags")
    assert attempts.read(cookie, "e", BACK) == begun
    assert attempts.read(cookie, "f", BACK) is None
    assert attempts.read(cookie, "e", BACK.replace("demo", "other")) is None
    assert Attempts(b"another key", lambda: now[0]).read(cookie, "e", BACK) is None
    assert attempts.read(unsigned(cookie), "e", BACK) is None
    assert attempts.read(cookie[:-2], "e", BACK) is None
    assert attempts.read("é.é.é", "e", BACK) is None
    now[0] = datetime.fromtimestamp(NOW.timestamp() + LIFETIME, UTC)
    assert attempts.read(cookie, "e", BACK) is None


def test_a_cookie_holds_neither_nonce_nor_verifier() -> None:
    """Airflow sees the browser's cookies."""
    import base64

    begun, cookie = Attempts(b"key", lambda: NOW).begin("e", BACK, "/")
    text = base64.urlsafe_b64decode(cookie.split(".")[1] + "==").decode()
    assert begun.attempt.state in text
    assert begun.attempt.nonce not in text
    assert begun.attempt.verifier not in text
    assert len(begun.attempt.verifier) == 43


def test_a_sign_in_is_used_once() -> None:
    now = [NOW]
    attempts = Attempts(b"key", lambda: now[0])
    begun = attempts.begin("e", BACK, "/")[0]
    assert attempts.use(begun)
    assert not attempts.use(begun)
    assert attempts.use(attempts.begin("e", BACK, "/")[0])

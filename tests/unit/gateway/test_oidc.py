"""In through the identity provider: from the page to Airflow's cookies, and every way that must not lead there."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import httpx
import pytest

from aerodrome.domain.sign_in import PREFIX, Person, airflow_name
from aerodrome.gateway.oidc import COOKIE
from aerodrome.gateway.ports import Limits, Oidc, Redeemed
from aerodrome.identity.oidc.asking import Asking
from aerodrome.identity.oidc.attempts import LIFETIME, Attempts
from aerodrome.identity.oidc.config import OidcConfig, mappings_of
from aerodrome.identity.oidc.provider import Provider
from support.fake_provider import CLIENT_ID, ISSUER, Endless, FakeProvider

START, CALLBACK = "/aws_mwaa/oidc/start", "/aws_mwaa/oidc/callback"
MAPPINGS = mappings_of('[{"group": "data-eng", "role": "User"}]')


class Tools:
    """The fake provider; who comes to the reception; and a browser's steps."""

    def __init__(self) -> None:
        self.fake = FakeProvider(lambda: 0.0)
        self.asking = Asking(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), transport=self.fake.transport, timeout=0.5)
        self.people: list[tuple[str, Person, str]] = []

    def __call__(self, world: Any) -> Oidc:
        self.fake.now = lambda: world.now().timestamp()
        config = OidcConfig(ISSUER, CLIENT_ID, MAPPINGS)
        return Oidc(Provider(config, self.asking, world.now), Attempts(b"key", world.now), self, "groups")

    async def admit_person(self, environment_id: str, person: Person, client: str) -> Redeemed | None:
        self.people.append((environment_id, person, client))
        if "data-eng" not in person.groups:
            return None
        return Redeemed(environment_id, airflow_name(person.name), ("User",), PREFIX + person.name)


@pytest.fixture
async def oidc() -> AsyncIterator[Tools]:
    tools = Tools()
    yield tools
    await tools.asking.close()


@pytest.fixture
async def site(setup: Any) -> Any:
    """Both environments take part."""
    setup.routes = {each: replace(route, issuer=ISSUER) for each, route in setup.routes.items()}
    await setup.gateway.sync(setup.routes.values())
    return setup


async def start(site: Any, target: str = START, **more: Any) -> tuple[str, str]:
    """(where the browser is sent to, its cookie)."""
    answer = await site.get(target, **more)
    assert answer.status == 303, answer.body
    (cookie,) = answer.all("set-cookie")
    assert re.fullmatch(rf"{COOKIE}=[\w.-]+; HttpOnly; Max-Age={LIFETIME}; Path=/; SameSite=lax; Secure", cookie), (
        cookie
    )
    assert answer.header("cache-control") == "no-store"
    return answer.header("location"), cookie.partition(";")[0].partition("=")[2]


async def come_back(site: Any, query: dict[str, str] | str, cookie: str | None, **more: Any) -> Any:
    text = query if isinstance(query, str) else urlencode(query)
    headers = [("Cookie", f"{COOKIE}={cookie}")] if cookie else []
    return await site.get(f"{CALLBACK}?{text}", headers=headers, **more)


async def sign_in(site: Any, oidc: Tools, **changes: str | None) -> Any:
    url, cookie = await start(site)
    query = {name: value for name, value in {**oidc.fake.authorize(url), **changes}.items() if value is not None}
    return await come_back(site, query, cookie)


def nobody_came(site: Any, answer: Any, status: int, words: str) -> None:
    """A page that says why, and no session."""
    text = answer.body.decode()
    assert (answer.status, answer.header("content-type")) == (status, "text/html; charset=utf-8")
    assert words in text.replace("&#x27;", "'"), text
    assert "Try again" in text
    assert "Traceback" not in text
    assert not any(each.startswith("_token") for each in answer.all("set-cookie"))
    assert site.world.held == {}
    assert site.airflow.logins == 0


async def test_the_page_offers_the_provider_and_comes_back_to_where_one_was(site: Any, oidc: Tools) -> None:
    page = await site.get("/dags?x=1&y=2", headers=[("Accept", "text/html")])
    text = page.body.decode()
    assert page.status == 401
    assert "Sign in with id.example.com" in text
    (link,) = re.findall(r'href="(/aws_mwaa/oidc/start[^"]*)"', text)
    assert link == f"{START}?next={quote('/dags?x=1&y=2', safe='')}"
    url, cookie = await start(site, link)
    answer = await come_back(site, oidc.fake.authorize(url), cookie)
    assert (answer.status, answer.header("location")) == (303, "/dags?x=1&y=2")


async def test_who_signs_in_has_airflows_own_cookies_and_a_session(site: Any, oidc: Tools) -> None:
    answer = await sign_in(site, oidc)
    assert (answer.status, answer.header("location")) == (303, "/")
    gone, *given = answer.all("set-cookie")
    assert gone.startswith(f'{COOKIE}=""; expires=')
    assert "Max-Age=0" in gone
    assert given[0] == "_token=cookie-aaa-1; HttpOnly; Path=/; Secure; SameSite=Lax"
    assert site.airflow.seen[0]["identity"]["user"] == "oidc/ann"
    assert site.airflow.seen[0]["identity"]["first_name"] == "oidc/Ann"
    assert site.airflow.seen[0]["identity"]["roles"] == ["User"]
    assert (await site.get("/api/v2/dags", "cookie-aaa-1")).status == 200
    ((environment_id, person, client),) = oidc.people
    assert (environment_id, person.subject, client) == ("aaa", "5ub", "127.0.0.1")
    (session,) = site.world.held.values()
    assert session.expires == site.world.clock + timedelta(hours=12)


async def test_the_provider_is_asked_with_all_that_binds_its_answer(site: Any, oidc: Tools) -> None:
    url, _ = await start(site)
    asked = dict(parse_qsl(urlsplit(url).query))
    assert asked["redirect_uri"] == f"https://{site.host}{CALLBACK}"
    assert asked["scope"] == "openid profile email"
    assert len(asked["state"]) == len(asked["nonce"]) == len(asked["code_challenge"]) == 43
    other = dict(parse_qsl(urlsplit((await start(site))[0]).query))
    assert all(asked[each] != other[each] for each in ("state", "nonce", "code_challenge"))


async def test_environments_that_take_no_part_have_no_such_pages(setup: Any, oidc: Tools) -> None:
    for target in (START, CALLBACK + "?code=1&state=2"):
        answer = await setup.get(target)
        assert answer.status == 404
        assert answer.all("set-cookie") == []
    page = await setup.get("/dags", headers=[("Accept", "text/html")])
    assert b"Sign in with" not in page.body
    assert oidc.fake.requests == []


async def test_no_other_method_than_get_is_served(site: Any) -> None:
    for method in ("POST", "HEAD", "PUT"):
        for target in (START, CALLBACK):
            assert (await site.client.call(site.host, target, method=method, body=b"")).status == 405


@pytest.mark.parametrize(
    "following",
    [
        "https://evil.example.com/", "//evil.example.com", "/\\evil.example.com", "\\\\evil.example.com",
        "javascript:x", "/\r\nSet-Cookie: x=1", "evil", "", "/é", "/" + "a" * 1025, "/\t/evil.example.com",
    ],
)  # fmt: skip
async def test_nobody_is_sent_elsewhere_afterwards(site: Any, oidc: Tools, following: str) -> None:
    answer = await site.get(f"{START}?{urlencode({'next': following})}")
    nobody_came(site, answer, 400, "not one of this environment")
    assert oidc.fake.requests == []


@pytest.mark.parametrize("path", ["/logout/", "/aws_mwaa/oidc/start?next=/", "/aws_mwaa/x", "//evil.example.com/"])
async def test_the_page_comes_back_to_no_place_that_isnt_one(site: Any, path: str) -> None:
    page = await site.get(path, headers=[("Accept", "text/html")])
    assert not re.search(r"next=%2F\w|evil", page.body.decode())


async def test_an_answer_without_the_browsers_cookie_is_refused(site: Any, oidc: Tools) -> None:
    """A victim who follows a stranger's link would work under the stranger's name."""
    url, _ = await start(site)
    answer = await come_back(site, oidc.fake.authorize(url), None)
    nobody_came(site, answer, 400, "began in another browser")
    assert oidc.fake.asked("/token") == []


async def test_an_answer_to_another_sign_in_of_the_same_browser_is_refused(site: Any, oidc: Tools) -> None:
    url, _ = await start(site)
    _, cookie = await start(site)
    answer = await come_back(site, oidc.fake.authorize(url), cookie)
    nobody_came(site, answer, 400, "belongs to another sign-in")
    assert oidc.fake.asked("/token") == []
    assert answer.all("set-cookie") == []  # its own sign-in may still be ended


@pytest.mark.parametrize("changes", [{"state": None}, {"state": ""}, {"state": "x"}, {"state": "é"}])
async def test_the_state_must_be_the_one_that_was_given(site: Any, oidc: Tools, changes: Any) -> None:
    nobody_came(site, await sign_in(site, oidc, **changes), 400, "belongs to another sign-in")


async def test_a_cookie_of_another_environment_is_none(site: Any, oidc: Tools) -> None:
    url, cookie = await start(site, host=site.other_host)
    answer = await come_back(site, oidc.fake.authorize(url), cookie)
    nobody_came(site, answer, 400, "began in another browser")


async def test_an_altered_cookie_is_none(site: Any, oidc: Tools) -> None:
    url, cookie = await start(site)
    head, body, signature = cookie.split(".")
    query = oidc.fake.authorize(url)
    for altered in (
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body[:-2]}AA.{signature}",
        "x",
        f"{cookie}; {COOKIE}=x",
    ):
        nobody_came(site, await come_back(site, query, altered), 400, "began in another browser")


async def test_a_cookie_lasts_ten_minutes(site: Any, oidc: Tools) -> None:
    url, cookie = await start(site)
    site.world.clock += timedelta(seconds=LIFETIME)
    nobody_came(site, await come_back(site, oidc.fake.authorize(url), cookie), 400, "more than ten minutes ago")


async def test_an_answer_that_is_replayed_is_refused(site: Any, oidc: Tools) -> None:
    """Even by a provider that takes a code twice."""
    url, cookie = await start(site)
    query = oidc.fake.authorize(url)
    assert (await come_back(site, query, cookie)).header("location") == "/"
    oidc.fake.codes[query["code"]] = dict(parse_qsl(urlsplit(url).query))
    again = await come_back(site, query, cookie)
    assert (again.status, again.all("set-cookie")[0].partition("=")[0]) == (403, COOKIE)
    assert b"was used before" in again.body
    assert site.airflow.logins == 1
    assert len(oidc.fake.asked("/token")) == 1


async def test_a_stolen_code_is_worth_nothing_in_another_browser(site: Any, oidc: Tools) -> None:
    stolen = oidc.fake.authorize((await start(site))[0])["code"]
    nobody_came(site, await sign_in(site, oidc, code=stolen), 403, "invalid_grant")


async def test_a_code_for_another_environment_is_worth_nothing(site: Any, oidc: Tools) -> None:
    stolen = oidc.fake.authorize((await start(site, host=site.other_host))[0])["code"]
    nobody_came(site, await sign_in(site, oidc, code=stolen), 403, "invalid_grant")


async def test_an_id_token_with_another_nonce_is_refused(site: Any, oidc: Tools) -> None:
    oidc.fake.claims = {"nonce": "of another sign-in"}
    nobody_came(site, await sign_in(site, oidc), 403, "ID token is not valid (InvalidClaim: nonce)")


@pytest.mark.parametrize("iss", [None, "", "https://evil.example.com"])
async def test_an_answer_of_another_provider_is_refused(site: Any, oidc: Tools, iss: str | None) -> None:
    nobody_came(site, await sign_in(site, oidc, iss=iss), 403, "does not come from id.example.com")
    assert oidc.fake.asked("/token") == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("access_denied", "did not let you in"),
        ("server_error", "has a problem of its own"),
        ("invalid_scope", "refused the sign-in (invalid_scope)"),
        ("<script>alert(1)</script>", "refused the sign-in (an error without a code)"),
    ],
)
async def test_what_the_provider_refuses_is_told(site: Any, oidc: Tools, error: str, words: str) -> None:
    answer = await sign_in(site, oidc, code=None, error=error, error_description="<b>call 0900</b>")
    nobody_came(site, answer, 403, words)
    assert b"0900" not in answer.body


async def test_an_answer_without_a_code_is_none(site: Any, oidc: Tools) -> None:
    nobody_came(site, await sign_in(site, oidc, code=None), 400, "sent no sign-in code")


@pytest.mark.parametrize(
    "query",
    ["code=1&code=2&state=x", "state=x&state=y", "&".join(f"f{n}=1" for n in range(30)), "code=%ff", "x" * 9000, "%"],
)
async def test_a_query_that_can_be_read_in_two_ways_is_refused(site: Any, query: str) -> None:
    _, cookie = await start(site)
    nobody_came(site, await come_back(site, query, cookie), 400, "query that can't be read" if query != "%" else "")


async def test_who_has_no_role_is_told_what_to_do(site: Any, oidc: Tools) -> None:
    oidc.fake.claims = {"groups": ["visitors"]}
    answer = await sign_in(site, oidc)
    nobody_came(site, answer, 403, "No Airflow role granted")
    text = answer.body.decode().replace("&#x27;", "'")
    assert "knows you as Ann" in text
    assert "claim 'groups'" in text
    assert "AERODROME_OIDC_ROLES" in text


async def test_a_name_is_no_html(site: Any, oidc: Tools) -> None:
    oidc.fake.claims = {"preferred_username": "<script>alert(1)</script>", "groups": []}
    assert b"<script>" not in (await sign_in(site, oidc)).body


@pytest.mark.parametrize(
    ("path", "answer", "words"),
    [
        ("/.well-known/openid-configuration", httpx.ConnectError("refused"), "can't be reached"),
        ("/token", httpx.ReadTimeout("slow"), "can't be reached"),
        ("/keys", httpx.Response(503, json={}), "answered 503"),
        ("/token", httpx.Response(200, stream=Endless()), "sent more than"),
        ("/token", httpx.Response(200, json={"access_token": "acc3ss"}), "gave no ID token"),
    ],
)
async def test_a_provider_that_is_ill_is_told_of_and_not_waited_for(
    site: Any, oidc: Tools, path: str, answer: Any, words: str
) -> None:
    url, cookie = await start(site)
    query = oidc.fake.authorize(url)
    oidc.fake.answers[path] = answer
    if path != "/token":
        found = await start_again(site)
    else:
        found = await come_back(site, query, cookie)
    assert found.status in (403, 502)
    assert words in found.body.decode().replace("&#x27;", "'")
    assert site.world.held == {}


async def start_again(site: Any) -> Any:
    """As after an hour: what is known of the provider is asked for again."""
    provider = site.gateway.app._oidc._oidc.provider
    provider._known = None
    return await site.get(START)


async def test_a_web_server_that_is_not_up_is_told_of(site: Any, oidc: Tools) -> None:
    url, cookie = await start(site)
    await site.gateway.add(replace(site.routes["aaa"], upstreams=()))
    nobody_came(
        site, await come_back(site, oidc.fake.authorize(url), cookie), 503, "is not up. Sign in again in a moment"
    )


async def test_sessions_end_when_the_environment_takes_no_part_any_more(site: Any, oidc: Tools) -> None:
    await sign_in(site, oidc)
    (key,) = site.world.held
    site.world.held[key] = replace(site.world.held[key], issuer=ISSUER)
    assert (await site.get("/x", "cookie-aaa-1")).status == 200
    await site.gateway.add(replace(site.routes["aaa"], issuer=None))
    assert (await site.get("/x", "cookie-aaa-1")).status == 401
    await site.gateway.add(site.routes["aaa"])
    assert (await site.get("/x", "cookie-aaa-1")).status == 401


async def test_sessions_of_web_tokens_go_on_beside_it(site: Any) -> None:
    assert (await site.get("/x", site.world.sign_in("c"))).status == 200
    await site.gateway.add(replace(site.routes["aaa"], issuer=None))
    assert (await site.get("/x", "c")).status == 200


async def test_no_line_of_the_log_has_a_code_token_or_secret(
    site: Any, oidc: Tools, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url, cookie = await start(site, START + "?next=/s3cret-path")
    query = oidc.fake.authorize(url)
    await come_back(site, query, cookie)
    await come_back(site, query, cookie)
    for lie in ({"nonce": "wr0ng"}, {"groups": []}):
        oidc.fake.claims = lie
        await sign_in(site, oidc)
    verifier = re.search(r"code_verifier=([\w-]+)", oidc.fake.asked("/token")[0].content.decode())
    assert verifier
    ours = "\n".join(each.getMessage() for each in caplog.records if not each.name.startswith(("asyncio", "hpack")))
    assert "came to nothing: The identity provider's ID token is not valid (InvalidClaim: nonce)" in ours
    assert "Ann has no Airflow role" in ours
    for secret in ("c0de-", query["state"], cookie, "acc3ss", "eyJ", verifier[1], "s3cret-path", "wr0ng"):
        assert secret not in ours


class TestCrowds:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(connect=1.0, login=5.0, pool=0.3, provider_calls=2)

    async def test_a_provider_that_hangs_is_waited_for_by_a_few(self, site: Any, oidc: Tools) -> None:
        gate = asyncio.Event()

        async def hang(request: httpx.Request) -> httpx.Response:
            await gate.wait()
            return httpx.Response(500, json={})

        url, cookie = await start(site)
        query = oidc.fake.authorize(url)
        oidc.fake.handle = hang
        waiting = [asyncio.create_task(come_back(site, query, cookie))]
        others = [(await start(site)) for _ in range(3)]
        waiting += [asyncio.create_task(come_back(site, oidc.fake.authorize(url), each)) for url, each in others]
        statuses = sorted([(await each).status for each in waiting])
        gate.set()
        assert 503 in statuses
        assert (await site.get("/x", site.world.sign_in("c"))).status == 200

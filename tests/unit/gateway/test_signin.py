"""The way in: SSO page, login, sessions, the way out."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from datetime import timedelta
from typing import Any

import pytest

from aerodrome.errors import Temporary
from aerodrome.gateway.paths import sso_url
from aerodrome.gateway.ports import Redeemed

PREFIXES = ["/aws_mwaa", "/pluginsv2/aws_mwaa"]


def token(setup: Any, name: str = "t0k", environment_id: str = "aaa") -> str:
    setup.world.web_tokens[name] = Redeemed(environment_id, "ann", ("Op", "Viewer"), "assumed-role/Dev/ann")
    return name


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_the_sso_page_posts_the_fragment_under_a_strict_policy(setup: Any, prefix: str) -> None:
    answer = await setup.get(f"{prefix}/aws-console-sso?login=true")
    text = answer.body.decode()
    nonce = re.search(r"script-src 'nonce-([^']+)'", answer.header("content-security-policy"))
    assert answer.status == 200
    assert nonce
    assert f'<script nonce="{nonce[1]}">' in text
    assert "unsafe-inline" not in answer.header("content-security-policy")
    assert "location.hash" in text
    assert answer.header("cache-control") == "no-store"
    assert answer.header("referrer-policy") == "no-referrer"
    again = await setup.get(f"{prefix}/aws-console-sso?login=true")
    assert again.header("content-security-policy") != answer.header("content-security-policy")


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_token_buys_airflows_own_cookie_once(setup: Any, prefix: str) -> None:
    answer = await setup.client.login(setup.host, token(setup), prefix)
    assert answer.status == 200
    assert answer.all("set-cookie") == [
        "_token=cookie-aaa-1; HttpOnly; Path=/; Secure; SameSite=Lax",
        "other=1; Path=/; Secure; SameSite=Strict",
    ]
    login = setup.airflow.seen[0]
    assert login["path"] == "/auth/login/"
    assert login["identity"] == {
        "env": "aaa",
        "user": "ann",
        "first_name": "assumed-role/Dev/ann",
        "roles": ["Op", "Viewer"],
        "exp": int((setup.world.clock + timedelta(seconds=30)).timestamp()),
    }
    assert ("x-forwarded-proto", "https") in login["headers"]
    assert ("host", setup.host) in login["headers"]
    passed = await setup.get("/api/v2/dags", "cookie-aaa-1")
    assert passed.status == 200
    again = await setup.client.login(setup.host, "t0k", prefix)
    assert again.status == 403
    assert "CreateWebLoginToken" in again.json()["message"]
    assert setup.airflow.logins == 1


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_airflow_2_signs_in_with_its_own_path_and_cookie(setup: Any, route: Any, prefix: str) -> None:
    setup.airflow.cookie = "session"
    two = {"login_path": "/login/", "cookie_name": "session", "airflow_major": 2}
    await setup.gateway.add(route("aaa", [setup.airflow.address], **two))
    answer = await setup.client.login(setup.host, token(setup), prefix)
    assert answer.all("set-cookie")[0].startswith("session=cookie-aaa-1;")
    assert setup.airflow.seen[0]["path"] == "/login/"
    assert (await setup.get("/x", headers=[("Cookie", "session=cookie-aaa-1")])).status == 200
    assert (await setup.get("/x", "cookie-aaa-1")).status == 401
    assert (await setup.get("/login/", headers=[("Cookie", "session=cookie-aaa-1")])).status == 401


async def test_the_session_lasts_twelve_hours(setup: Any) -> None:
    await setup.client.login(setup.host, token(setup))
    [session] = setup.world.held.values()
    assert session.expires == setup.world.clock + timedelta(hours=12)
    assert hashlib.sha256(b"cookie-aaa-1").hexdigest() in setup.world.held
    setup.world.clock += timedelta(hours=12)
    assert (await setup.get("/", "cookie-aaa-1")).status == 401


async def test_a_json_body_carries_the_token_too(setup: Any) -> None:
    body = b'{"token": "%s"}' % token(setup).encode()
    answer = await setup.client.call(
        setup.host, "/aws_mwaa/login", method="POST", headers=[("Content-Type", "application/json")], body=body
    )
    assert answer.status == 200


async def test_a_json_body_that_is_deeper_than_any_parser_goes_carries_none(setup: Any) -> None:
    answer = await setup.client.call(
        setup.host, "/aws_mwaa/login", method="POST", headers=[("Content-Type", "application/json")], body=b"[" * 16_000
    )
    assert answer.status == 400


async def test_a_token_of_another_environment_is_refused(setup: Any) -> None:
    answer = await setup.client.login(setup.host, token(setup, environment_id="bbb"))
    assert answer.status == 403
    assert setup.airflow.logins == 0
    assert setup.airflows["bbb"].logins == 0


@pytest.mark.parametrize(
    "header", [("Origin", "https://evil.example"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")]
)
async def test_another_sites_page_cant_sign_its_visitor_in(setup: Any, header: tuple[str, str]) -> None:
    answer = await setup.client.login(setup.host, token(setup), headers=[header])
    assert answer.status == 403
    assert "t0k" in setup.world.web_tokens
    own = [("Origin", f"https://{setup.host}"), ("Sec-Fetch-Site", "same-origin")]
    assert (await setup.client.login(setup.host, "t0k", headers=own)).status == 200


@pytest.mark.parametrize("body", [b"", b"tok=x", b"token=", b"\xff\xfe"])
async def test_a_login_without_a_token_is_refused(setup: Any, body: bytes) -> None:
    answer = await setup.client.call(setup.host, "/aws_mwaa/login", method="POST", body=body)
    assert answer.status == 400


async def test_a_huge_login_is_refused_and_get_is_not_allowed(setup: Any) -> None:
    answer = await setup.client.call(setup.host, "/aws_mwaa/login", method="POST", body=b"x" * 20_000)
    assert answer.status == 413
    answer = await setup.get("/aws_mwaa/login")
    assert (answer.status, answer.header("allow")) == (405, "POST")


async def test_a_sign_in_that_airflow_refuses_opens_no_session(setup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong_secret(_: str) -> bytes:
        return b"not the secret"

    monkeypatch.setattr(setup.world, "identity_secret", wrong_secret)
    answer = await setup.client.login(setup.host, token(setup))
    assert answer.status == 502
    assert not setup.world.held
    assert answer.all("set-cookie") == []


async def test_a_token_is_kept_while_no_web_server_is_up(setup: Any, route: Any) -> None:
    await setup.gateway.add(route("aaa", []))
    answer = await setup.client.login(setup.host, token(setup))
    assert answer.status == 503
    assert "t0k" in setup.world.web_tokens


async def test_strangers_get_a_page_or_json_that_says_how_to_sign_in(setup: Any) -> None:
    page = await setup.get("/home", headers=[("Accept", "text/html,*/*;q=0.8")])
    assert page.status == 401
    assert b"aerodrome env open env-aaa" in page.body
    assert b"aws mwaa create-web-login-token --name env-aaa" in page.body
    answer = await setup.get("/api/v2/dags")
    assert answer.status == 401
    assert "CreateWebLoginToken" in answer.json()["detail"]
    assert answer.header("www-authenticate") == 'Bearer realm="env-aaa"'
    assert setup.airflow.seen == []


async def test_cookie_or_bearer_must_be_a_live_session_of_this_environment(setup: Any) -> None:
    good, foreign = setup.world.sign_in("good"), setup.world.sign_in("foreign", "bbb")
    bearer = [("Authorization", f"Bearer {good}")]
    assert (await setup.get("/x", good)).status == 200
    assert (await setup.get("/x", headers=bearer)).status == 200
    assert (await setup.get("/x", headers=[("Authorization", "bearer wrong")])).status == 401
    assert (await setup.get("/x", foreign)).status == 401
    assert (await setup.get("/x", foreign, host=setup.other_host)).json()["who"] == "bbb"
    assert (await setup.get("/x", good, host=setup.other_host)).status == 401
    assert (await setup.get("/x", headers=[("Cookie", "session=good")])).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        [("Cookie", "_token=good; _token=bad")],
        [("Cookie", "_token=bad; _token=good")],
        [("Cookie", "_token=good"), ("Cookie", "_token=bad")],
        [("Cookie", "_token=good; _token =bad")],
        [("Cookie", "_token=good"), ("Authorization", "Bearer bad")],
        [("Authorization", "Bearer good"), ("Cookie", "_token=bad")],
        [("Authorization", "Bearer good"), ("Authorization", "Bearer bad")],
    ],
)
async def test_a_bad_credential_beside_a_good_one_is_refused(setup: Any, headers: list[tuple[str, str]]) -> None:
    setup.world.sign_in("good")
    assert (await setup.get("/x", headers=headers)).status == 401
    assert setup.airflow.seen == []


async def test_a_cookie_that_airflow_replaces_continues_the_session(setup: Any) -> None:
    setup.world.sign_in("good", hours=3)
    assert (await setup.get("/rotate", "good")).status == 200
    assert (await setup.get("/x", "rotated")).status == 200
    assert setup.world.held[hashlib.sha256(b"rotated").hexdigest()].expires == setup.world.clock + timedelta(hours=3)


async def test_signing_out_revokes_and_opens_nothing_new(setup: Any) -> None:
    setup.world.sign_in("good")
    answer = await setup.get("/auth/logout", "good")
    assert (answer.status, answer.header("location")) == (302, "/auth/login/")
    assert (await setup.get("/x", "good")).status == 401
    assert (await setup.get("/x", "fresh")).status == 401
    again = await setup.get("/auth/logout", "good")
    assert again.status == 200
    assert any(cookie.startswith('_token=""') and "Max-Age=0" in cookie for cookie in again.all("set-cookie"))


async def test_airflows_own_login_page_is_never_reached_from_outside(setup: Any) -> None:
    setup.world.sign_in("good")
    for target in ("/auth/login/", "/auth/login", "/auth/login/?next=/"):
        assert (await setup.get(target, "good")).status == 401
    assert setup.airflow.seen == []


async def test_an_unreachable_store_is_503_with_retry_after(setup: Any) -> None:
    setup.world.failure = Temporary("The database is away.", retry_after=3)
    answer = await setup.get("/x", "good")
    assert (answer.status, answer.header("retry-after")) == (503, "3")


async def test_no_secret_is_logged(setup: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await setup.client.login(setup.host, token(setup, "s3cr3t-token"))
    await setup.get("/x?password=s3cr3t-query", "cookie-aaa-1")
    await asyncio.sleep(0)
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert f"{setup.host} GET /x 200" in text
    assert "s3cr3t" not in text
    assert "cookie-aaa-1" not in text


def test_the_sign_in_address_is_mwaas() -> None:
    assert sso_url("h", 2, "T") == "https://h/aws_mwaa/aws-console-sso?login=true#T"
    assert sso_url("h", 3, "T") == "https://h/pluginsv2/aws_mwaa/aws-console-sso?login=true#T"


async def test_a_token_that_was_revoked_while_airflow_signed_in_opens_nothing(setup: Any) -> None:
    setup.world.token_revoked = True
    answer = await setup.client.login(setup.host, token(setup))
    assert answer.status == 403
    assert not answer.all("set-cookie")
    assert not setup.world.held

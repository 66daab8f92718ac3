"""Bounded brute force and fuzz of tokens, cookies and bearer tokens, against the gateway on the real tables."""

from __future__ import annotations

import asyncio
import base64
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Scope

from aerodrome.domain.environment import Status
from aerodrome.gateway.app import GatewayApp
from aerodrome.gateway.identity import credential_hash
from aerodrome.gateway.ports import Backstage, Route
from aerodrome.identity.standing import Standing
from aerodrome.server.reception import Reception
from aerodrome.store.database import Pool
from support.mwaa import House, open_house

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# Who is let in finds no web server: 503. So whatever isn't refused is seen.
LET_IN = 503


@dataclass
class Fort:
    """Three environments of one name or another, and the way to each."""

    house: House
    reception: Reception
    app: ASGIApp
    clock: Any
    ids: dict[str, str]  # host -> environment id

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="https://demo.test")

    async def token(self, name: str = "demo", region: str = "eu-west-1") -> str:
        return str((await self.house.call("create_web_login_token", region=region, Name=name))["WebToken"])

    async def cookie(self, value: str, host: str = "demo.test") -> str:
        """A session with that cookie."""
        name, region = PLACES[host]
        redeemed = await self.reception.redeem_web_token(await self.token(name, region))
        assert redeemed is not None
        expires = self.clock() + timedelta(hours=12)
        assert await self.reception.open_session(credential_hash(value), redeemed, expires)
        return value


class Clock:
    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Secrets:
    async def identity_secret(self, environment_id: str) -> bytes:
        return b"secret"

    async def run_cli(self, *_: Any) -> Any:
        raise AssertionError("nobody was to get here")


class Open:
    """An entrance that keeps nobody out."""

    def __init__(self, routes: dict[str, Route]) -> None:
        self._routes = routes

    def route(self, name: str) -> Route | None:
        return self._routes.get(name)

    def is_misdirected(self, route: Route, name: str, scope: Scope) -> bool:
        return False

    def admits(self, environment_id: str, client: str) -> bool:
        return True

    def refusal(self, route: Route) -> str:
        raise AssertionError("nobody was to be refused")


PLACES = {
    "demo.test": ("demo", "eu-west-1"),
    "other.test": ("other", "eu-west-1"),
    "east.test": ("demo", "us-east-1"),
}


@pytest.fixture
async def fort(pool: Pool) -> AsyncIterator[Fort]:
    clock = Clock()
    async with open_house(pool, now=clock) as house:
        for name, region in PLACES.values():
            await house.create(name, region=region)
        for row in await house.store.all():
            await house.store.update(row, status=Status.AVAILABLE)
        found = {(row.key.name, row.key.region): row for row in await house.store.all()}
        rows = {host: found[place] for host, place in PLACES.items()}
        context = house.context
        reception = Reception(
            context.store, context.tokens, context.signed_in, Standing(house.account, clock), context.sessions, clock
        )
        # Nothing listens at port 1; the sign-in needs no web server to refuse a token.
        routes = {
            host: Route(row.id, row.key, host, ("127.0.0.1:1",), "/auth/login/", "_token", 3)
            for host, row in rows.items()
        }
        app = GatewayApp(Backstage(reception, reception, Secrets(), clock))
        yield Fort(house, reception, partial(app, Open(routes)), clock, {host: row.id for host, row in rows.items()})
        await app.upstreams.stop()
        await app.sign_in_upstreams.stop()


def near(secret: str, dice: random.Random) -> str:
    """Almost the secret: a character changed, dropped, doubled or added, or another case."""
    place = dice.randrange(len(secret))
    other = dice.choice([each for each in ALPHABET if each != secret[place]])
    return dice.choice(
        [
            secret[:place] + other + secret[place + 1 :],
            secret[:place] + secret[place + 1 :],
            secret[: place + 1] + secret[place:],
            secret + other,
            secret[: max(1, place)],
            secret + "=",
            "%00" + secret,
            secret + "\\0",
        ]
    )


async def statuses(client: httpx.AsyncClient, requests: list[httpx.Request]) -> Counter[int]:
    """Of all requests, a few at once."""
    turns, found = asyncio.Semaphore(16), Counter[int]()

    async def send(request: httpx.Request) -> None:
        async with turns:
            found[(await client.send(request)).status_code] += 1

    await asyncio.gather(*(send(request) for request in requests))
    return found


def guesses(secret: str, count: int) -> list[str]:
    """Half of them anything of any length, half almost it; no two alike, never itself."""
    dice = random.Random(6)  # noqa: S311 - the same ones in every run
    found = {"".join(dice.choices(ALPHABET, k=dice.choice([1, 8, 63, 64, 65, 500]))) for _ in range(count // 2)}
    while len(found) < count:
        found.add(near(secret, dice))
    return sorted(found - {secret, ""})


async def test_guessed_web_tokens_open_nothing_and_use_nothing_up(fort: Fort) -> None:
    token = await fort.token()
    async with fort.client() as client:
        requests = [
            client.build_request("POST", f"{prefix}/login", data={"token": guess})
            for guess in guesses(token, 400)
            for prefix in ("/aws_mwaa", "/pluginsv2/aws_mwaa")
        ]
        assert await statuses(client, requests) == {403: len(requests)}
    assert await fort.reception.redeem_web_token(token) is not None, "the true one was used up or locked out"


async def test_guessed_cli_tokens_run_nothing(fort: Fort) -> None:
    token = (await fort.house.call("create_cli_token", Name="demo"))["CliToken"]
    async with fort.client() as client:
        requests = [
            client.build_request(
                "POST", "/aws_mwaa/cli", content="version", headers={"authorization": f"Bearer {each}"}
            )
            for each in [*guesses(token, 300), await fort.token()]
        ]
        assert await statuses(client, requests) == {403: len(requests)}
    assert await fort.reception.check_cli_token(token) is not None


@pytest.mark.parametrize("form", ["_token={}", "_token=x; _token={}", '_token="{}"', "session={}", None])
async def test_guessed_cookies_and_bearers_open_nothing(fort: Fort, form: str | None) -> None:
    cookie = await fort.cookie((ALPHABET * 4)[:200])
    async with fort.client() as client:
        requests = []
        for each in guesses(cookie, 250):
            shown = {"authorization": f"Bearer {each}"} if form is None else {"cookie": form.format(each)}
            requests.append(client.build_request("GET", "/api/v2/dags", headers=shown))
        assert await statuses(client, requests) == {401: len(requests)}
        for shown in ({"cookie": f"_token={cookie}"}, {"authorization": f"Bearer {cookie}"}):
            assert (await client.get("/api/v2/dags", headers=shown)).status_code == LET_IN


async def test_a_true_cookie_helps_no_false_one(fort: Fort) -> None:
    """Whichever of the two Airflow would believe."""
    cookie = await fort.cookie("true")
    async with fort.client() as client:
        for shown in (
            [("cookie", f"_token={cookie}; _token=false")],
            [("cookie", f"_token=false; _token={cookie}")],
            [("cookie", f"_token={cookie}"), ("authorization", "Bearer false")],
            [("cookie", "_token=false"), ("authorization", f"Bearer {cookie}")],
            [("authorization", f"Bearer {cookie}"), ("authorization", "Bearer false")],
        ):
            assert (await client.get("/api/v2/dags", headers=shown)).status_code == 401


async def test_a_session_of_another_environment_or_region_is_nobody(fort: Fort) -> None:
    cookies = {host: await fort.cookie(f"cookie-{host}", host) for host in PLACES}
    async with fort.client() as client:
        for host in PLACES:
            for whose, cookie in cookies.items():
                for shown in ({"cookie": f"_token={cookie}"}, {"authorization": f"Bearer {cookie}"}):
                    answer = await client.get(f"https://{host}/api/v2/dags", headers=shown)
                    assert answer.status_code == (LET_IN if host == whose else 401)


@pytest.mark.parametrize("host", [host for host in PLACES if host != "demo.test"])
async def test_a_token_of_another_environment_or_region_opens_nothing_and_is_used_up(fort: Fort, host: str) -> None:
    token = await fort.token(*PLACES[host])
    async with fort.client() as client:
        assert (await client.post("/aws_mwaa/login", data={"token": token})).status_code == 403
        assert (await client.post(f"https://{host}/aws_mwaa/login", data={"token": token})).status_code == 403


async def test_a_token_that_was_used_or_has_expired_opens_nothing(fort: Fort) -> None:
    used, late = await fort.token(), await fort.token()
    async with fort.client() as client:
        assert (await client.post("/aws_mwaa/login", data={"token": used})).status_code == LET_IN
        assert (await client.post("/aws_mwaa/login", data={"token": used})).status_code == 403
        fort.clock.ahead += timedelta(seconds=60)
        assert (await client.post("/aws_mwaa/login", data={"token": late})).status_code == 403


async def test_a_session_that_has_expired_is_nobody(fort: Fort) -> None:
    cookie = {"cookie": f"_token={await fort.cookie('c')}"}
    async with fort.client() as client:
        assert (await client.get("/", headers=cookie)).status_code == LET_IN
        fort.clock.ahead += timedelta(hours=12)
        assert (await client.get("/", headers=cookie)).status_code == 401


async def test_a_hash_is_no_cookie(fort: Fort) -> None:
    """Who reads our tables finds nothing to sign in with."""
    await fort.cookie("c")
    async with fort.client() as client:
        answer = await client.get("/", headers={"cookie": f"_token={credential_hash('c')}"})
    assert answer.status_code == 401


BYTES = st.binary(max_size=300)
TEXTS = st.text(st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n"), max_size=200)
REFUSED = {400, 401, 403, 404, 405, 413, 501}


async def fuzzed(fort: Fort, path: str, method: str, credentials: list[tuple[str, str]], body: bytes) -> int:
    """The status; any exception of ours comes through."""
    headers = [(name, value.encode("latin-1")) for name, value in credentials]
    async with fort.client() as client:
        return (await client.request(method, path, headers=headers, content=body)).status_code


CREDENTIALS = st.lists(
    st.one_of(
        st.tuples(st.just("cookie"), TEXTS),
        st.tuples(st.just("cookie"), TEXTS.map(lambda text: f"_token={text}")),
        st.tuples(st.just("authorization"), TEXTS),
        st.tuples(st.just("authorization"), TEXTS.map(lambda text: f"Bearer {text}")),
        st.tuples(st.just("x-aerodrome-identity"), TEXTS),
        st.tuples(st.just("x-aerodrome-gateway"), TEXTS),
        st.tuples(st.just("content-type"), st.sampled_from(["application/json", "text/plain", ""])),
    ),
    max_size=4,
)
PATHS = st.sampled_from(
    [
        "/",
        "/aws_mwaa/login",
        "/pluginsv2/aws_mwaa/login",
        "/aws_mwaa/cli",
        "/api/v2/dags",
        "/auth/login/",
        "/execution/",
    ]
)
FORMS = st.one_of(
    BYTES,
    BYTES.map(lambda data: b"token=" + data),
    BYTES.map(lambda data: b'{"token": "' + base64.b64encode(data) + b'"}'),
    st.sampled_from([b'{"token": null}', b'{"token": ["a"]}', b"[" * 5000, b"token", b"token=%00", b"token=%F0%28"]),
)


Example = tuple[str, str, list[tuple[str, str]], bytes]


def examples_of(count: int) -> list[Example]:
    """Gathered first and sent later: hypothesis runs no coroutines."""
    gathered: list[Example] = []

    @settings(max_examples=count, deadline=None)
    @given(path=PATHS, method=st.sampled_from(["GET", "POST", "PUT"]), credentials=CREDENTIALS, body=FORMS)
    def gather(path: str, method: str, credentials: list[tuple[str, str]], body: bytes) -> None:
        gathered.append((path, method, credentials, body))

    gather()
    return gathered


async def test_no_bytes_open_anything(fort: Fort) -> None:
    await refused_all(fort, 150)


@pytest.mark.exhaustive
async def test_no_bytes_open_anything_however_many(fort: Fort) -> None:
    await refused_all(fort, 3000)


async def refused_all(fort: Fort, examples: int) -> None:
    await fort.cookie("true")
    for path, method, credentials, body in examples_of(examples):
        status = await fuzzed(fort, path, method, credentials, body)
        assert status in REFUSED, (path, method, credentials, body)

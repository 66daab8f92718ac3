"""Five principals (Admin, Op, User, Viewer, nobody) on every way in: what each may, how it ends, who is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.people import REST, WEB, Person, allowing, browser, person, port_of, role_arn
from support.site import Demo, Site

ROLES = ("Admin", "Op", "User", "Viewer")
VARIABLE = "made-by-test-principals"
SOON = 2.0  # seconds, that a change in the embedded IAM may take
SLACK = 1.5  # seconds, for the request that finds it so, on a busy machine
FORGED = "forged" * 12

# method, path, body, and who may
CHECKS: tuple[tuple[str, str, Any, set[str]], ...] = (
    ("GET", "/dags", None, {"Admin", "Op", "User", "Viewer"}),
    ("GET", "/dags/flights/dagRuns", None, {"Admin", "Op", "User", "Viewer"}),
    ("PATCH", "/dags/flights", {"is_paused": False}, {"Admin", "Op", "User"}),
    ("GET", "/variables", None, {"Admin", "Op"}),
    ("POST", "/variables", {"key": VARIABLE, "value": "x"}, {"Admin", "Op"}),
    ("DELETE", f"/variables/{VARIABLE}", None, {"Admin", "Op"}),
    ("GET", "/connections", None, {"Admin", "Op"}),
)


@pytest.fixture(scope="module")
def people(demo: Demo) -> Iterator[dict[str, Person]]:
    """One user for each role, and one who may look at the environment but has no role in it."""
    with ExitStack() as stack:
        made = {
            role: stack.enter_context(
                person(demo.site, f"{role}-{demo.name}", allowing([WEB, REST], role_arn(demo, role)))
            )
            for role in ROLES
        }
        yield made | {"nobody": stack.enter_context(person(demo.site, f"nobody-{demo.name}"))}


@contextmanager
def ways(demo: Demo, who: Person) -> Iterator[dict[str, Callable[[str, str, Any], int]]]:
    """How a request gets to Airflow's API: its status, by way."""
    session = who.sign_in(demo)
    with ExitStack() as stack:

        def web(**shown: str) -> Callable[[str, str, Any], int]:
            client, prefix = stack.enter_context(browser(demo, **shown)), demo.version.api_prefix
            return lambda method, path, body: client.request(method, prefix + path, json=body).status_code

        found = {"web login": web(cookie=session), "InvokeRestApi": lambda *words: who.invoke(demo, *words)}
        yield found | ({"bearer token": web(bearer=session)} if demo.version.bearer else {})


@pytest.mark.parametrize("role", ROLES)
def test_each_may_in_airflow_what_the_role_allows_whatever_the_way(
    demo: Demo, people: dict[str, Person], role: str
) -> None:
    with ways(demo, people[role]) as all_ways:
        for way, ask in all_ways.items():
            for method, path, body, who_may in CHECKS:
                status = ask(method, path, body)
                assert (status < 300) if role in who_may else (status == 403), (way, method, path, status)


@pytest.mark.parametrize("role", ROLES)
def test_users_and_roles_are_shown_to_admins_alone(demo: Demo, people: dict[str, Person], role: str) -> None:
    path = "/auth/fab/v1/users" if demo.version.major >= 3 else "/api/v1/users"
    with browser(demo, cookie=people[role].sign_in(demo)) as client:
        shown = {"Authorization": client.headers["Cookie"].replace("_token=", "Bearer ")} if demo.version.bearer else {}
        answer = client.get(path, headers=shown)
    assert answer.status_code == (200 if role == "Admin" else 403)
    if role == "Admin":
        users = {user["username"]: {each["name"] for each in user["roles"]} for user in answer.json()["users"]}
        assert users[f"user/{role}-{demo.name}"] == {role}
        assert "admin" not in users, "Airflow's own administrator"


def test_who_has_no_role_gets_no_token_and_no_answer(demo: Demo, people: dict[str, Person]) -> None:
    nobody = people["nobody"].mwaa()
    assert nobody.get_environment(Name=demo.name)["Environment"]["Name"] == demo.name
    asked = {"Name": demo.name, "Method": "GET", "Path": "/dags"}
    for call, members in ((nobody.create_web_login_token, {"Name": demo.name}), (nobody.invoke_rest_api, asked)):
        with pytest.raises(nobody.exceptions.AccessDeniedException, match="No Airflow role granted in IAM") as caught:
            call(**members)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    with pytest.raises(ClientError, match="is not authorized to perform: airflow:CreateCliToken"):
        nobody.create_cli_token(Name=demo.name)


@pytest.fixture
def ann(demo: Demo) -> Iterator[Person]:
    with person(demo.site, f"ann-{demo.name}", allowing([WEB], role_arn(demo, "Op"))) as made:
        yield made


def deactivate_key(ann: Person, demo: Demo) -> None:
    iam = ann.site.client("iam")
    iam.update_access_key(UserName=ann.name, AccessKeyId=ann.key, Status="Inactive")


def delete_key(ann: Person, demo: Demo) -> None:
    ann.site.client("iam").delete_access_key(UserName=ann.name, AccessKeyId=ann.key)


def delete_user(ann: Person, demo: Demo) -> None:
    delete_key(ann, demo)
    ann.site.client("iam").delete_user_policy(UserName=ann.name, PolicyName="test")
    ann.site.client("iam").delete_user(UserName=ann.name)


def take_permission(ann: Person, demo: Demo) -> None:
    ann.may(allowing([REST], role_arn(demo, "Op")))


def take_role(ann: Person, demo: Demo) -> None:
    ann.may(allowing([WEB], role_arn(demo, "Viewer")))


def deny(ann: Person, demo: Demo) -> None:
    ann.may(allowing([WEB], "*"), {"Effect": "Deny", "Action": "airflow:*", "Resource": "*"})


@pytest.mark.parametrize("happens", [deactivate_key, delete_key, delete_user, take_permission, take_role, deny])
def test_a_session_ends_within_two_seconds_of_what_it_rests_on(
    demo: Demo, ann: Person, happens: Callable[[Person, Demo], None]
) -> None:
    session, unused = ann.sign_in(demo), ann.token(demo)
    dags = f"{demo.version.api_prefix}/dags"
    with browser(demo, cookie=session) as client:
        assert client.get(dags).status_code == 200
        happens(ann, demo)
        done = time.monotonic()
        while client.get(dags).status_code == 200:
            assert time.monotonic() - done < SOON + SLACK
        assert client.get(dags).status_code == 401
        assert client.post(f"{demo.version.sso_prefix}/login", data={"token": unused}).status_code == 403
    with browser(demo, bearer=session) as client:
        assert client.get(dags).status_code == 401


def listed(site: Site, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(site.aerodrome("sessions", "list", name, "--json").stdout)["Sessions"]
    return found


def test_a_command_ends_it_at_once_and_nobody_elses(demo: Demo, ann: Person, people: dict[str, Person]) -> None:
    first, second, other = ann.sign_in(demo), ann.sign_in(demo), people["Viewer"].sign_in(demo)
    mine = [each for each in listed(demo.site, demo.name) if each["AirflowIdentity"] == f"user/{ann.name}"]
    assert [each["AccessKeyId"] for each in mine] == [ann.key] * 2
    dags = f"{demo.version.api_prefix}/dags"

    def status(cookie: str) -> int:
        with browser(demo, cookie=cookie) as client:
            return client.get(dags).status_code

    demo.site.aerodrome("sessions", "revoke", mine[0]["Id"])
    assert [status(each) for each in (first, second, other)] == [401, 200, 200]
    assert "1 session ended" in demo.site.aerodrome("sessions", "revoke", "--user", ann.name).stdout
    assert [status(each) for each in (first, second, other)] == [401, 401, 200]
    assert [each for each in listed(demo.site, demo.name) if each["AirflowIdentity"] == f"user/{ann.name}"] == []
    assert status(ann.sign_in(demo)) == 200, "the right to sign in again was left"


def test_behind_the_gateway_a_session_opens_nothing(demo: Demo, people: dict[str, Person]) -> None:
    """Whoever is on this machine finds Airflow's port; there is nothing to be had, revoked or not."""
    session, url = people["Admin"].sign_in(demo), f"http://127.0.0.1:{port_of(demo)}"
    identity = {"X-Aerodrome-Identity": FORGED, "X-Aerodrome-Gateway": FORGED}
    with browser(demo, cookie=session) as client:
        signed_in = dict(client.headers) | {"Authorization": f"Bearer {session}"}
        for headers in (
            {},
            identity,
            signed_in,
            signed_in | identity,
            {"REMOTE_USER": "admin", "Remote-User": "admin"},
        ):
            for path in (demo.version.login_path, f"{demo.version.api_prefix}/dags", "/", demo.version.health_path):
                answer = client.get(f"{url}{path}", headers=headers)
                assert (answer.status_code, answer.headers.get("set-cookie")) == (401, None), path


def test_forged_headers_do_not_get_through_the_gateway(demo: Demo, people: dict[str, Person]) -> None:
    """What a client says of itself is dropped, also when it is signed in."""
    forged = {"X-Aerodrome-Identity": FORGED, "X-Forwarded-User": "admin", "Remote-User": "admin"}
    with browser(demo) as client:
        assert client.get(f"{demo.version.api_prefix}/dags", headers=forged).status_code == 401
        assert client.get(demo.version.login_path, headers=forged).status_code == 401
    with browser(demo, cookie=people["Viewer"].sign_in(demo)) as client:
        assert client.get(f"{demo.version.api_prefix}/variables", headers=forged).status_code == 403
        assert client.get(f"{demo.version.api_prefix}/dags", headers=forged).status_code == 200


def test_tokens_forged_replayed_or_of_elsewhere_open_nothing(
    demo: Demo, demos: Callable[[str], Demo], people: dict[str, Person]
) -> None:
    admin, prefix = people["Admin"], demo.version.sso_prefix
    token = admin.token(demo)
    with browser(demo) as client:

        def status(value: str) -> int:
            return client.post(f"{prefix}/login", data={"token": value}).status_code

        changed = [token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :] for place in range(64)]
        assert {status(each) for each in [*changed, token[:-1], token + "A", FORGED]} == {403}
        assert [status(token), status(token)] == [200, 403]
        for version in ("3.3.1", "2.11.2"):
            other = demos(version)
            if other.name != demo.name:
                foreign = demo.site.client("mwaa").create_web_login_token(Name=other.name)["WebToken"]
                assert status(foreign) == 403
    elsewhere = admin.mwaa("eu-west-1")
    with pytest.raises(elsewhere.exceptions.AccessDeniedException):
        elsewhere.create_web_login_token(Name=demo.name)


HOOK = """
from airflow.providers.amazon.aws.hooks.mwaa import MwaaHook
asked = dict(env_name={name!r}, path='/dags', method='GET', airflow_version={major})
print(MwaaHook(aws_conn_id=None).invoke_rest_api(**asked)['RestApiStatusCode'])
"""


def test_the_providers_hook_falls_back_to_the_web_token(demo: Demo, people: dict[str, Person]) -> None:
    """Its system test's own path: a role that may sign in, without airflow:InvokeRestApi."""
    python, *_ = demo.site.layout.runtimes.glob("3.3.1-*/bin/python")
    script = HOOK.format(name=demo.name, major=demo.version.major)

    def hook(who: Person) -> Any:
        keys = [f"AWS_ACCESS_KEY_ID={who.key}", f"AWS_SECRET_ACCESS_KEY={who.secret}"]
        return demo.site.run("env", *keys, python, "-c", script, check=False)

    with person(demo.site, f"hook-{demo.name}", allowing([WEB], role_arn(demo, "User"))) as user:
        with pytest.raises(ClientError, match="No Airflow role granted in IAM"):
            user.invoke(demo, "GET", "/dags")
        done = hook(user)
        assert done.returncode == 0, done.stderr
        assert "Trying again by generating local token" in done.stdout + done.stderr
        assert "200" in done.stdout.splitlines()
    refused = hook(people["nobody"])
    assert refused.returncode != 0
    assert "No Airflow role granted in IAM" in refused.stderr + refused.stdout

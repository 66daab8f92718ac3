"""Pure parts: paths, host names, headers."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerodrome.domain.web_server import public_name as name_of
from aerodrome.domain.web_server import with_port as web_host
from aerodrome.errors import Permanent
from aerodrome.gateway import identity
from aerodrome.gateway.headers import fortified, set_cookie
from aerodrome.gateway.hosts import loopback_address, split_host
from aerodrome.gateway.paths import is_execution
from aerodrome.gateway.ports import Principal
from aerodrome_airflow.identity import Identity, verify

SEGMENTS = st.sampled_from(["", ".", "..", "x", "api", "..;a", ";p=1", "%2e", "%2E%2e", "dags"])
NAMES = st.sampled_from(
    ["execution", "Execution", "EXECUTION", "execution;a=b", "%65xecution", "exe%63ution", "e%2578ecution"]
)


def routed_to_execution(path: str) -> bool:
    """What Starlette behind uvicorn does: decode once, then match the mount's prefix literally."""
    decoded = unquote(path)
    return decoded == "/execution" or decoded.startswith("/execution/")


def rfc3986(path: str) -> str:
    """Dot segments removed (RFC 3986 5.2.4), empty segments dropped, decoded once, as a normalising server would."""
    kept: list[str] = []
    for segment in unquote(path).split("/"):
        name = segment.partition(";")[0]
        if name == "..":
            del kept[-1:]
        elif name not in ("", "."):
            kept.append(name)
    return "/" + "/".join(kept)


@given(st.lists(SEGMENTS, max_size=5), NAMES, st.lists(SEGMENTS, max_size=3), st.sampled_from(["/", "//", "%2f", "\\"]))
def test_every_reading_that_leads_to_execution_is_refused(
    before: list[str], name: str, after: list[str], by: str
) -> None:
    path = "/" + by.join([*before, name, *after])
    if routed_to_execution(path) or routed_to_execution(rfc3986(path)):
        assert is_execution(path.encode())


@given(st.text(alphabet="/.;%25eExcution2f\\", max_size=30))
def test_no_spelling_of_these_letters_gets_through(text: str) -> None:
    path = "/" + text
    for _ in range(3):
        if routed_to_execution(path) or routed_to_execution(rfc3986(path)):
            assert is_execution(("/" + text).encode())
        path = unquote(path)


@given(st.integers(1, 6), st.sets(st.integers(0, 8)))
def test_any_letter_may_be_encoded_any_number_of_times(rounds: int, letters: set[int]) -> None:
    name = "".join(f"%{ord(char):02x}" if at in letters else char for at, char in enumerate("execution"))
    for _ in range(rounds - 1):
        name = quote(name, safe="")
    assert is_execution(f"/{name}/x".encode())


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=12))
def test_paths_of_airflow_pass(dag: str) -> None:
    quoted = quote(dag, safe="")
    if unquote(quoted).count("%") == 0:  # a DAG id that is itself percent-encoded may be refused after eight rounds
        assert not is_execution(f"/api/v2/dags/{quoted}/dagRuns".encode()) or ".." in dag


@given(st.text(max_size=20), st.sets(st.integers(0, 255 * 255), max_size=30))
def test_loopback_addresses_are_stable_free_and_in_range(environment_id: str, steps: set[int]) -> None:
    first = loopback_address(environment_id, ())
    assert loopback_address(environment_id, {"127.83.0.0"}) == first
    prefix, third, fourth = first.rsplit(".", 2)
    assert prefix == "127.83"
    assert 0 <= int(third) <= 255
    assert 1 <= int(fourth) <= 254
    taken = {first}
    second = loopback_address(environment_id, taken)
    assert second not in taken
    assert loopback_address(environment_id, [second]) == first


def test_addresses_can_run_out() -> None:
    everything = {f"127.83.{third}.{fourth}" for third in range(256) for fourth in range(1, 255)}
    free = everything.pop()
    assert loopback_address("x", everything) == free
    with pytest.raises(Permanent, match="AERODROME_WEB_HOST"):
        loopback_address("x", everything | {free})


def test_host_names() -> None:
    assert web_host(name_of("0123456789ab", "eu-west-1"), 443) == "0123456789ab.eu-west-1.airflow.localhost"
    assert web_host("127.83.1.2", 8443) == "127.83.1.2:8443"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("A.b", ("a.b", 443)),
        ("a.b.:80", ("a.b", 80)),
        ("127.83.1.2:8443", ("127.83.1.2", 8443)),
        ("", None),
        ("a:0", None),
        ("a:65536", None),
        ("a:b", None),
        ("a@b", None),
        ("a/b", None),
        ("[::1]", None),
        ("a, b", None),
        ("-a", None),
    ],
)
def test_host_headers(value: str, expected: tuple[str, int] | None) -> None:
    assert split_host(value) == expected


def test_cookies_of_the_sign_in_are_fortified() -> None:
    assert fortified(b"a=b; path=/; domain=x; HttpOnly") == b"a=b; path=/; HttpOnly; Secure; SameSite=Lax"
    assert fortified(b"a=b;secure;samesite=None") == b"a=b; secure; samesite=None"
    assert set_cookie(b'_token="a=b"; Path=/') == ("_token", "a=b")


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1), st.text(alphabet=st.characters(codec="utf-8")))
def test_airflows_side_understands_the_identity_header(user: str, iam_identity: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    value = identity.sign(b"key", "abc", Principal(user, ("Op", "Viewer"), iam_identity), now).decode("ascii")

    def read(environment: str = "abc", signed_with: str = "key", later: float = 0) -> Identity | None:
        return verify(value, environment=environment, secret=signed_with, now=now.timestamp() + later)

    assert read(later=29) == Identity(user, iam_identity or user, ("Op", "Viewer"))
    assert read(later=31) is None
    assert read(environment="abd") is None
    assert read(signed_with="kez") is None

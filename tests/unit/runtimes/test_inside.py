"""The parts of `aerodrome_airflow` that need no Airflow."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
from typing import Any

import celery
import pytest

from aerodrome.domain.versions import IDENTITY_HEADER
from aerodrome_airflow import identity, launch, worker
from aerodrome_airflow.identity import Identity, sign, verify

NOW = 1_800_000_000.0
SECRET = "s" * 43
WHO = Identity("user/anna", "user/anna", ("Admin", "Op"))


def check(value: str, *, now: float = NOW, secret: str = SECRET, environment: str = "e1") -> Identity | None:
    return verify(value, environment=environment, secret=secret, now=now)


def forge(claims: object, secret: str = SECRET) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"{body}.{hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()}"


GOOD = {"user": "a", "first_name": "A", "roles": ["Viewer"], "exp": NOW + 10, "env": "e1"}


class TestIdentityHeader:
    def test_both_sides_call_it_the_same(self) -> None:
        assert identity.HEADER == IDENTITY_HEADER

    def test_says_who_is_there(self) -> None:
        assert check(sign(WHO, environment="e1", secret=SECRET, now=NOW)) == WHO

    def test_is_good_for_thirty_seconds(self) -> None:
        value = sign(WHO, environment="e1", secret=SECRET, now=NOW)
        assert check(value, now=NOW + 29.9) == WHO
        assert check(value, now=NOW + 30) is None

    def test_is_good_for_one_environment_and_one_secret(self) -> None:
        value = sign(WHO, environment="e1", secret=SECRET, now=NOW)
        assert check(value, environment="e2") is None
        assert check(value, secret="t" * 43) is None

    def test_nothing_passes_where_no_secret_or_environment_is_set(self) -> None:
        assert check(sign(WHO, environment="e1", secret="", now=NOW), secret="") is None
        assert check(sign(WHO, environment="", secret=SECRET, now=NOW), environment="") is None

    @pytest.mark.parametrize("place", range(0, 120, 7))
    def test_a_changed_character_spoils_it(self, place: int) -> None:
        value = sign(WHO, environment="e1", secret=SECRET, now=NOW)
        changed = value[:place] + ("A" if value[place] != "A" else "B") + value[place + 1 :]
        assert check(changed) is None

    @pytest.mark.parametrize(
        "value", ["", ".", "a.b", "x" * 9000, "é.é", "e30", f"e30.{'0' * 64}", forge([]), forge("x"), forge(None)]
    )
    def test_other_text_is_nobody(self, value: str) -> None:
        assert check(value) is None

    @pytest.mark.parametrize(
        "change",
        [
            {"exp": NOW + 3600},
            {"exp": "later"},
            {"exp": None},
            {"exp": float("nan")},
            {"user": ""},
            {"user": 7},
            {"roles": "Admin"},
            {"roles": []},
            {"roles": ["Superuser"]},
            {"roles": [["Admin"]]},
            {"env": "e2"},
        ],
    )
    def test_a_signed_claim_of_the_wrong_kind_is_nobody(self, change: dict[str, Any]) -> None:
        assert check(forge(GOOD)) is not None
        assert check(forge(GOOD | change)) is None

    def test_only_default_roles_can_be_granted(self) -> None:
        found = check(forge(GOOD | {"roles": ["Viewer", "my_custom_role"]}))
        assert found is not None
        assert found.roles == ("Viewer",)


def test_the_launcher_names_its_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["before"])
    for name in ("AIRFLOW_CONFIG", "AIRFLOW__FAB__CONFIG_FILE"):
        monkeypatch.setenv(name, "/elsewhere")
    launch.prepare(["dags", "list"])
    assert sys.argv == ["airflow", "dags", "list"]
    for name in ("AIRFLOW_CONFIG", "AIRFLOW__FAB__CONFIG_FILE"):
        with open(launch.os.environ[name]) as file:
            assert file.read()


def test_the_worker_gets_its_name_from_us(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(celery.Celery, "worker_main", lambda app, argv=None: seen.append(argv))
    worker.name_node("worker-1-ab12")
    celery.Celery("test", set_as_current=False).worker_main(["worker", "--concurrency", "5"])
    assert seen == [["worker", "--concurrency", "5", "--hostname", "celery@worker-1-ab12"]]

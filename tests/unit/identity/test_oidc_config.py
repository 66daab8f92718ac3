"""Settings of the identity provider: what is wrong is told before anything starts, with the setting's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from aerodrome.cli.main import _settings_lines as settings_lines
from aerodrome.cli.starting import bring_up
from aerodrome.domain.sign_in import RoleMapping
from aerodrome.errors import Permanent
from aerodrome.machineroom.progress import Silent
from aerodrome.settings import Settings

ROLES = '[{"group": "data-eng", "role": "User", "environments": ["team-a-*"]}]'
GOOD = {"OIDC_ISSUER": "https://id.example.com/staff/", "OIDC_CLIENT_ID": "aerodrome", "OIDC_ROLES": ROLES}


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(**values: str | None) -> None:
        for name, value in {**GOOD, **values}.items():
            if value is None:
                monkeypatch.delenv(f"AERODROME_{name}", raising=False)
            else:
                monkeypatch.setenv(f"AERODROME_{name}", value)

    return put


def test_all_that_is_needed(put: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    put(OIDC_CLIENT_SECRET_FILE=str(secret), OIDC_SCOPES="openid  groups")
    found = Settings().identity_provider()
    assert found is not None
    assert (found.issuer, found.client_id, found.client_secret) == (
        "https://id.example.com/staff",
        "aerodrome",
        "s3cret",
    )
    assert found.mappings == (RoleMapping("data-eng", "User", ("team-a-*",)),)
    assert found.scopes == ("openid", "groups")
    assert (found.groups_claim, found.user_claim) == ("groups", None)
    assert "s3cret" not in repr(found)


def test_no_provider_is_the_default() -> None:
    assert Settings().identity_provider() is None


def test_a_mapping_without_environments_is_for_all(put: Any) -> None:
    put(OIDC_ROLES='[{"group": "g", "role": "Admin"}]')
    found = Settings().identity_provider()
    assert found is not None
    assert found.mappings == (RoleMapping("g", "Admin", ("*",)),)
    assert found.client_secret is None


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("oidc_issuer", "http://id.example.com", "not an https URL"),
        ("oidc_issuer", "id.example.com", "not an https URL"),
        ("oidc_issuer", "https://id.example.com?x=1", "a query"),
        ("oidc_issuer", "https://u:p@id.example.com", "user name"),
        ("oidc_client_id", None, "must be set, since AERODROME_OIDC_ISSUER is"),
        ("oidc_roles", None, "must be set, since AERODROME_OIDC_ISSUER is"),
        ("oidc_roles", "data-eng=User", "not JSON"),
        ("oidc_roles", "{}", "JSON list with at least one entry"),
        ("oidc_roles", "[]", "JSON list with at least one entry"),
        ("oidc_roles", '["data-eng"]', "entry 1 must be an object"),
        ("oidc_roles", '[{"group": "g", "role": "User"}, {"role": "User"}]', "entry 2 needs a group"),
        ("oidc_roles", '[{"group": "", "role": "User"}]', "entry 1 needs a group"),
        ("oidc_roles", '[{"group": "g", "role": "user"}]', "must be one of Admin, Op, User, Viewer, Public"),
        ("oidc_roles", '[{"group": "g", "role": ["User"]}]', "must be one of Admin, Op, User, Viewer, Public"),
        ("oidc_roles", '[{"group": "g", "role": "User", "environments": "*"}]', "must be a list of names"),
        ("oidc_roles", '[{"group": "g", "role": "User", "environments": []}]', "must be a list of names"),
        ("oidc_roles", '[{"group": "g", "role": "User", "environment": ["a"]}]', "unknown member environment"),
        ("oidc_scopes", "profile email", "must have openid"),
        ("oidc_client_secret_file", "secret", "not a whole path"),
        ("oidc_ca_file", "./ca.pem", "not a whole path"),
        ("oidc_groups_claim", "", "at least 1 character"),
    ],
)
def test_wrong_settings_are_named_and_explained(put: Any, name: str, value: str | None, words: str) -> None:
    put(**{name.upper(): value})
    with pytest.raises(ValidationError) as caught:
        Settings()
    (error,) = caught.value.errors()
    assert error["loc"] == (name,)
    assert words in error["msg"]


def test_roles_without_an_issuer_mean_nothing(put: Any) -> None:
    put(OIDC_ISSUER=None)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert [error["loc"] for error in caught.value.errors()] == [("oidc_client_id",), ("oidc_roles",)]
    assert "means nothing without AERODROME_OIDC_ISSUER" in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"s3cret", 0o640, "other users may read"),
        (b"s3cret", 0o604, "chmod 600"),
        (b" \n", 0o600, "is empty"),
        (b"\xff\xfe", 0o600, "is not text"),
        (None, 0, "can't be read: No such file"),
    ],
)
def test_a_secret_that_is_none_is_refused(put: Any, tmp_path: Path, content: Any, mode: int, words: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    put(OIDC_CLIENT_SECRET_FILE=str(path))
    with pytest.raises(Permanent, match="AERODROME_OIDC_CLIENT_SECRET_FILE: ") as caught:
        Settings().identity_provider()
    assert words in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_folder_is_no_secret(put: Any, tmp_path: Path) -> None:
    put(OIDC_CLIENT_SECRET_FILE=str(tmp_path))
    with pytest.raises(Permanent, match="Is a directory"):
        Settings().identity_provider()


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_authorities_that_are_none_are_refused(put: Any, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    put(OIDC_CA_FILE=str(path))
    with pytest.raises(Permanent, match=r"AERODROME_OIDC_CA_FILE: .* can't be used"):
        Settings().identity_provider()


async def test_up_refuses_before_it_does_anything(put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AERODROME_HOME", str(tmp_path / "home"))
    put(OIDC_CLIENT_SECRET_FILE=str(tmp_path / "nowhere"))
    with pytest.raises(Permanent, match="AERODROME_OIDC_CLIENT_SECRET_FILE"):
        await bring_up(Settings(), Silent())
    assert not (tmp_path / "home").exists()


def test_a_wrong_setting_is_one_line_at_the_terminal(put: Any) -> None:
    put(OIDC_SCOPES="email")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert settings_lines(caught.value) == (
        "AERODROME_OIDC_SCOPES: it must have openid among its words: without it a provider gives no ID token."
    )

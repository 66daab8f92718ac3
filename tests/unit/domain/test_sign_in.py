"""Groups and roles, names, and which environments let people in."""

from __future__ import annotations

from typing import Any

import pytest

from aerodrome.domain.sign_in import (
    People,
    Person,
    PersonReference,
    RoleMapping,
    airflow_name,
    is_person,
    start_url_faults,
    takes_part,
)

ISSUER = "https://id.example.com/realms/staff"
PEOPLE = People(
    ISSUER,
    (
        RoleMapping("everyone", "Viewer"),
        RoleMapping("data-eng", "User", ("team-a-*", "shared")),
        RoleMapping("data-eng", "Op", ("team-a-dev",)),
        RoleMapping("admins", "Admin", ("team-?-prod",)),
    ),
)


@pytest.mark.parametrize(
    ("groups", "environment", "roles"),
    [
        ({"everyone"}, "anything", ("Viewer",)),
        ({"data-eng"}, "team-a-prod", ("User",)),
        ({"data-eng"}, "team-a-dev", ("Op", "User")),
        ({"data-eng"}, "shared", ("User",)),
        ({"data-eng"}, "shared-2", ()),
        ({"data-eng"}, "team-b", ()),
        ({"everyone", "data-eng", "admins"}, "team-a-prod", ("Admin", "User", "Viewer")),
        ({"admins"}, "team-ab-prod", ()),
        ({"Everyone", "data", "*", ""}, "shared", ()),
        (set(), "shared", ()),
    ],
)
def test_groups_give_all_their_roles_strongest_first(groups: set[str], environment: str, roles: tuple[str]) -> None:
    assert PEOPLE.roles(groups, environment) == roles


def test_a_session_remembers_the_groups_that_count_and_no_others() -> None:
    person = Person(ISSUER, "5ub", "Ann", frozenset({"everyone", "data-eng", "secret-project"}))
    reference = PEOPLE.reference(person, "team-a-dev")
    assert reference == PersonReference(ISSUER, "5ub", ("data-eng", "everyone"))
    assert PersonReference.from_json(reference.to_json()) == reference
    assert is_person(reference.to_json())


def test_a_session_stands_while_its_groups_give_its_roles() -> None:
    raw = PersonReference(ISSUER, "5ub", ("data-eng",)).to_json()
    assert PEOPLE.lost(raw, ("Op", "User"), "team-a-dev") is None
    assert PEOPLE.lost(raw, ("Op", "User"), "team-a-prod") == "no group gives the Airflow role Op any more"
    fewer = People(ISSUER, PEOPLE.mappings[:1])
    assert fewer.lost(raw, ("Op", "User"), "team-a-dev") == "no group gives the Airflow role Op, User any more"
    other = People("https://other.example.com", PEOPLE.mappings)
    assert other.lost(raw, ("User",), "team-a-dev") == f"{ISSUER} is not the identity provider any more"
    assert PEOPLE.lost({"issuer": ISSUER}, ("User",), "team-a-dev") == "the sign-in isn't known any more"


def test_nobody_is_called_as_an_iam_identity_is() -> None:
    for name in ("user/ann", "root", "assumed-role/Dev/ann", "../user/ann", "/user/ann"):
        assert airflow_name(name).startswith("oidc/")


def test_names_that_airflow_takes_for_one_are_one() -> None:
    """It compares them without regard to case: each would have the other's roles."""
    assert airflow_name("Ann@Example.com") == airflow_name("ann@example.com") == "oidc/ann@example.com"
    long = "a" * 60
    assert airflow_name(long) == airflow_name(long.upper())


def test_long_names_are_hashed_and_differ() -> None:
    names = {airflow_name("a" * 60), airflow_name("a" * 61), airflow_name("a" * 59)}
    assert len(names) == 3
    assert all(len(name) <= 64 and name.startswith("oidc/") for name in names)


@pytest.mark.parametrize(
    ("start", "issuer", "part"),
    [
        (ISSUER, ISSUER, True),
        (ISSUER + "/", ISSUER, True),
        (ISSUER + "/x", ISSUER, False),
        (ISSUER.upper(), ISSUER, False),
        (ISSUER, None, False),
        ("https://d-0123456789.awsapps.com/start", ISSUER, False),
    ],
)
def test_an_environment_takes_part_when_its_start_url_is_the_issuer(start: str, issuer: Any, part: bool) -> None:
    members = {"IdentityCenterConfiguration": {"StartUrl": start, "IdentityStoreId": "d-0123456789"}}
    assert takes_part(members, issuer) is part
    faults = start_url_faults(members, issuer)
    assert bool(faults) is not part
    if faults:
        assert f"IdentityCenterConfiguration: StartUrl: {start} is not the identity provider" in faults[0]
        assert ("AERODROME_OIDC_ISSUER" if issuer is None else f"which is {issuer}") in faults[0]


@pytest.mark.parametrize("members", [{}, {"IdentityCenterConfiguration": None}, {"IdentityCenterConfiguration": {}}])
def test_environments_without_a_start_url_take_no_part(members: dict[str, Any]) -> None:
    assert not takes_part(members, ISSUER)
    assert start_url_faults(members, ISSUER) == []

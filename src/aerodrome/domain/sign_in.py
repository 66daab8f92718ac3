"""Signing in through an identity provider: which groups mean which of Airflow's roles, and what people are called."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aerodrome.domain.patterns import matches, parse
from aerodrome.domain.policy import ROLES

# No IAM identity begins so (`user/…`, `assumed-role/…`, `federated-user/…`, `root`): nobody at the provider can be
# called as somebody in IAM is.
PREFIX = "oidc/"
_LONGEST = 64  # mwaa-spec 7.2: longer identities are hashed


@dataclass(frozen=True, slots=True)
class RoleMapping:
    """Members of the group have the role in every environment whose name fits one of the patterns (`*`, `?`)."""

    group: str
    role: str
    environments: tuple[str, ...] = ("*",)

    def covers(self, environment: str) -> bool:
        return any(matches(parse(each, None) or (), environment) for each in self.environments)


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the provider vouches for. `subject` is its own, never reused name for them; `name` is for people."""

    issuer: str
    subject: str
    name: str
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class PersonReference:
    """What a session remembers of a person: enough to ask later whether it still stands, and nothing secret.

    `groups` are those alone that gave the roles: there may be hundreds of others.
    """

    issuer: str
    subject: str
    groups: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"issuer": self.issuer, "subject": self.subject, "groups": list(self.groups)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> PersonReference:
        """Raises:
        KeyError: it is no reference to a person.
        """
        return cls(raw["issuer"], raw["subject"], tuple(raw["groups"]))


@dataclass(frozen=True, slots=True)
class People:
    """The installation's provider and what its groups may do."""

    issuer: str
    mappings: tuple[RoleMapping, ...]

    def roles(self, groups: Collection[str], environment: str) -> tuple[str, ...]:
        """All the roles that the groups give there, strongest first: as for IAM, Airflow gets every one of them."""
        granted = {each.role for each in self._fitting(groups, environment)}
        return tuple(role for role in ROLES if role in granted)

    def reference(self, person: Person, environment: str) -> PersonReference:
        groups = sorted({each.group for each in self._fitting(person.groups, environment)})
        return PersonReference(person.issuer, person.subject, tuple(groups))

    def lost(self, raw: Mapping[str, Any], roles: Sequence[str], environment: str) -> str | None:
        """Why a session of these roles stands no more; None when it does. `raw` is a `PersonReference` as JSON."""
        try:
            reference = PersonReference.from_json(raw)
        except (KeyError, TypeError):  # of a release that says it otherwise
            return "the sign-in isn't known any more"
        if reference.issuer != self.issuer:
            return f"{reference.issuer} is not the identity provider any more"
        missing = set(roles) - set(self.roles(reference.groups, environment))
        return f"no group gives the Airflow role {', '.join(sorted(missing))} any more" if missing else None

    def _fitting(self, groups: Collection[str], environment: str) -> Iterable[RoleMapping]:
        return (each for each in self.mappings if each.group in groups and each.covers(environment))


def is_person(reference: Mapping[str, Any]) -> bool:
    """Whether what a token or session remembers is a person of a provider, not a principal of IAM."""
    return "issuer" in reference


def airflow_name(name: str) -> str:
    """The user's name in Airflow, which tells no upper case from lower; hashed when it is longer than MWAA's are."""
    full = PREFIX + name.lower()
    if len(full) <= _LONGEST:
        return full
    return (PREFIX + hashlib.sha256(name.lower().encode()).hexdigest())[:_LONGEST]


def takes_part(members: Mapping[str, Any], issuer: str | None) -> bool:
    """Whether an environment of these members lets people in through the provider: its StartUrl names it."""
    center: Mapping[str, Any] = members.get("IdentityCenterConfiguration") or {}
    return issuer is not None and same_issuer(center.get("StartUrl") or "", issuer)


def same_issuer(one: str, other: str) -> bool:
    """A slash at the end makes no other issuer: people type it, or don't."""
    return one.rstrip("/") == other.rstrip("/")


def start_url_faults(members: Mapping[str, Any], issuer: str | None) -> list[str]:
    """What is wrong with a StartUrl. An issuer that we aren't set to trust could be anybody's, anywhere."""
    start = (members.get("IdentityCenterConfiguration") or {}).get("StartUrl")
    if not start or takes_part(members, issuer):
        return []
    field = f"IdentityCenterConfiguration: StartUrl: {start} is not the identity provider of this installation"
    if issuer is None:
        return [f"{field}: it has none. Set AERODROME_OIDC_ISSUER and run `aerodrome up`, or leave the field out."]
    return [f"{field}, which is {issuer}; use that, or leave the field out."]

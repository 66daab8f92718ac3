"""Users, groups, roles, policies and keys of our own table: IAM's names, limits and words for what is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from aerodrome.errors import ApiError

ADMINISTRATOR = "admin"  # the user that every installation has, and that can't be deleted
ADMINISTRATOR_ACCESS = "AdministratorAccess"
KEYS_PER_USER = 2
GROUPS_PER_USER = 10
ATTACHED_POLICIES = 10
TAGS = 50
SHORTEST_SESSION, LONGEST_SESSION, CHAINED_SESSION = 900, 43200, 3600  # seconds
_TAG_KEY, _TAG_VALUE = 128, 256  # characters
_NAME = re.compile(r"[\w+=,.@-]+", re.ASCII)
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)


class Kind(StrEnum):
    """What can have policies."""

    USER = "user"
    GROUP = "group"
    ROLE = "role"


# Of ids, which are never used again (IAM's reference of unique identifiers).
PREFIXES: Mapping[Kind, str] = {Kind.USER: "AIDA", Kind.GROUP: "AGPA", Kind.ROLE: "AROA"}
LONG_TERM, TEMPORARY = "AKIA", "ASIA"  # of access keys
_LONGEST_NAME = {"user": 64, "group": 128, "role": 64, "policy": 128}
# Characters without white space: of all inline policies of one together, of a managed policy, of a trust policy.
INLINE_LIMIT: Mapping[Kind, int] = {Kind.USER: 2048, Kind.GROUP: 5120, Kind.ROLE: 10240}
MANAGED_LIMIT, TRUST_LIMIT, SESSION_POLICY_LIMIT = 6144, 2048, 2048


@dataclass(frozen=True, slots=True)
class Who:
    """A user, group or role by its name."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def is_administrator(self) -> bool:
        return self.kind is Kind.USER and self.name.lower() == ADMINISTRATOR


def arn(account: str, who: Who) -> str:
    return f"arn:aws:iam::{account}:{who.kind}/{who.name}"


def policy_arn(account: str, name: str, *, is_aws: bool) -> str:
    return f"arn:aws:iam::{'aws' if is_aws else account}:policy/{name}"


def session_arn(account: str, role: str, session: str) -> str:
    return f"arn:aws:sts::{account}:assumed-role/{role}/{session}"


def check_name(kind: str, name: str) -> None:
    """Raises ApiError: ValidationError; the name has a character that IAM's have not, or is too long."""
    longest = _LONGEST_NAME[kind]
    if len(name) > longest or not _NAME.fullmatch(name):
        raise invalid(
            f"The name {name!r} can't be that of a {kind}: it must be 1 to {longest} letters, digits and + = , . @ _ -"
        )


def check_session_name(name: str) -> None:
    """Raises ApiError: ValidationError."""
    if not _SESSION_NAME.fullmatch(name):
        raise invalid(f"The role session name {name!r} must be 2 to 64 letters, digits and + = , . @ _ -")


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises ApiError: ValidationError or LimitExceeded; `tags` are all that there would be."""
    for key, value in tags.items():
        if not key or len(key) > _TAG_KEY or len(value) > _TAG_VALUE or key.lower().startswith("aws:"):
            raise invalid(
                f"The tag {key!r} must have 1 to {_TAG_KEY} characters, its value {_TAG_VALUE} at most, and keys that"
                " begin with aws: are reserved."
            )
    if len(tags) > TAGS:
        raise limit_exceeded(f"Cannot exceed quota for TagsPerIdentity: {TAGS}")


def check_duration(seconds: int, most: int) -> None:
    """Raises ApiError: ValidationError, as STS has it."""
    if not SHORTEST_SESSION <= seconds <= LONGEST_SESSION:
        raise invalid(f"DurationSeconds must be {SHORTEST_SESSION} to {LONGEST_SESSION}; it is {seconds}.")
    if seconds > most:
        raise invalid(
            f"The requested DurationSeconds exceeds the MaxSessionDuration set for this role: {seconds} > {most}."
        )


def invalid(message: str) -> ApiError:
    return ApiError("ValidationError", message, 400)


def already_there(what: str) -> ApiError:
    return ApiError("EntityAlreadyExists", f"{what[:1].upper()}{what[1:]} already exists.", 409)


def no_such(what: str) -> ApiError:
    return ApiError("NoSuchEntity", f"{what[:1].upper()}{what[1:]} cannot be found.", 404)


def limit_exceeded(message: str) -> ApiError:
    return ApiError("LimitExceeded", message, 409)


def conflict(message: str) -> ApiError:
    return ApiError("DeleteConflict", message, 409)

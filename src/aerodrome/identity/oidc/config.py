"""The settings of the identity provider, read and checked before anything starts."""

from __future__ import annotations

import json
import os
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aerodrome.domain.policy import ROLES
from aerodrome.domain.sign_in import RoleMapping

_EXAMPLE = '[{"group": "data-eng", "role": "User", "environments": ["team-a-*"]}]'
_MEMBERS = {"group", "role", "environments"}


@dataclass(frozen=True, slots=True)
class OidcConfig:
    """What is known of the provider before it is asked."""

    issuer: str  # https URL, without a slash at its end
    client_id: str
    mappings: tuple[RoleMapping, ...]
    client_secret: str | None = field(default=None, repr=False)  # None: a public client
    groups_claim: str = "groups"
    user_claim: str | None = None  # None: preferred_username, else email, else sub
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    ca_file: Path | None = None  # further certificate authorities that its hosts are believed by


def issuer_of(text: str) -> str:
    """The issuer without a slash at its end.

    Raises:
        ValueError: it is no https URL that a StartUrl can name.
    """
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError(f"{text} is not an https URL. Use the one that your provider calls its issuer.")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{text} has a query, a fragment or a user name in it, which no issuer has. Leave it out.")
    return text.rstrip("/")


def mappings_of(text: str) -> tuple[RoleMapping, ...]:
    """The JSON list of groups and their roles.

    Raises:
        ValueError: what is wrong with it, and in which entry.
    """
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error}). Write a list such as {_EXAMPLE}.") from error
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"it must be a JSON list with at least one entry, such as {_EXAMPLE}.")
    return tuple(_mapping(number, each) for number, each in enumerate(entries, 1))


def _mapping(number: int, entry: Any) -> RoleMapping:
    where = f"entry {number}"
    if not isinstance(entry, dict):
        raise ValueError(f"{where} must be an object, such as {_EXAMPLE[1:-1]}.")  # noqa: TRY004 - pydantic's way
    unknown = sorted(entry.keys() - _MEMBERS)
    if unknown:
        raise ValueError(f"{where} has the unknown member {unknown[0]}; an entry has group, role and environments.")
    group, role, environments = entry.get("group"), entry.get("role"), entry.get("environments", ["*"])
    if not isinstance(group, str) or not group:
        raise ValueError(f"{where} needs a group: the text that the provider's groups claim holds.")
    if role not in ROLES:
        raise ValueError(f"{where} has the role {role!r}; it must be one of {', '.join(ROLES)}.")
    named = isinstance(environments, list) and all(isinstance(each, str) and each for each in environments)
    if not named or not environments:
        raise ValueError(f'{where}: environments must be a list of names or patterns, such as ["team-a-*"].')
    return RoleMapping(group, role, tuple(environments))


def scopes_of(text: str) -> tuple[str, ...]:
    """Raises:
    ValueError: openid isn't among them.
    """
    scopes = tuple(text.split())
    if "openid" not in scopes:
        raise ValueError("it must have openid among its words: without it a provider gives no ID token.")
    return scopes


def read_secret(path: Path) -> str:
    """The client's secret: what is in the file, without white space around it.

    Raises:
        ValueError: it isn't there, is empty, or others may read it.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ValueError(f"{path} is not a file. Name the file that holds the client's secret.")
            if found.st_mode & 0o077:
                raise ValueError(f"other users may read {path}. Run: chmod 600 {path}")
            secret = file.read(16 * 1024).decode().strip()
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}. Name the file that holds the secret.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text. Put the client's secret into it, nothing else.") from error
    if not secret:
        raise ValueError(f"{path} is empty. Put the client's secret into it.")
    return secret


def check_authorities(path: Path) -> None:
    """Raises:
    ValueError: the file can't be read, or holds no certificate.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:  # ssl.SSLError is one
        why = "it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(
            f"{path} can't be used: {why}. Name a file with the CA certificates of the provider."
        ) from error

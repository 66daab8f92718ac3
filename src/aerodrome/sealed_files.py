"""Secrets of the installation that have files of their own (`secrets/NAME`), each sealed under the master key."""

from __future__ import annotations

import secrets
from pathlib import Path

from aerodrome.errors import Permanent
from aerodrome.files import ensure_directory, write_file
from aerodrome.layout import Layout
from aerodrome.vault import vault_of

CLOUD = "cloud.key"  # 32 bytes: the embedded cloud's state is sealed under it
PKI = "pki.password"  # what private keys of certificates are encrypted with, in their own format
ADMINISTRATOR = "administrator.json"  # the administrator's next key, while it is exchanged
_NAMES = (CLOUD, PKI, ADMINISTRATOR)
_SEALED = b"aerodrome sealed 1\n"
_BYTES = 32


def path(layout: Layout, name: str) -> Path:
    return layout.secrets / name


def keep(layout: Layout, name: str) -> bytes:
    """The secret of that name: 32 random bytes, made when there is none. One in plain text, as earlier releases wrote
    it, is sealed. Blocking; idempotent.

    Raises:
        Permanent: it is damaged, or another master key sealed it.
    """
    found = _read(layout, name)
    secret, is_sealed = found or (secrets.token_bytes(_BYTES), False)
    if len(secret) != _BYTES:
        raise Permanent(
            f"{path(layout, name)} is damaged: it has {len(secret)} bytes, not {_BYTES}; restore it from a backup."
        )
    if not is_sealed:
        write(layout, name, secret)
    return secret


def read(layout: Layout, name: str) -> bytes | None:
    """What the file holds, sealed or as an earlier release wrote it; None: there is none. Blocking.

    Raises:
        Permanent: it is damaged, or another master key sealed it.
    """
    found = _read(layout, name)
    return None if found is None else found[0]


def write(layout: Layout, name: str, secret: bytes) -> None:
    """Raises OSError: the disk is full."""
    ensure_directory(layout.secrets, 0o700)
    write_file(path(layout, name), _SEALED + vault_of(layout).seal(secret, _context(name)), 0o600)


def rewrap(layout: Layout) -> None:
    """What there is lies under the newest master key afterwards. What is damaged is left to who reads it."""
    vault = vault_of(layout)
    for name in _NAMES:
        file = path(layout, name)
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            continue
        if not content.startswith(_SEALED):
            write(layout, name, content)
            continue
        try:
            again = vault.rewrapped(content[len(_SEALED) :], _context(name))
        except Permanent:
            continue
        if again is not None:
            write_file(file, _SEALED + again, 0o600)


def _read(layout: Layout, name: str) -> tuple[bytes, bool] | None:
    """The secret, and whether it lies there sealed."""
    file = path(layout, name)
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    if not content.startswith(_SEALED):
        return content, False
    try:
        return vault_of(layout).open(content[len(_SEALED) :], _context(name)), True
    except Permanent as error:
        raise Permanent(f"{file} is damaged, or of another installation; restore it from a backup.") from error


def _context(name: str) -> str:
    return f"file:{name}"

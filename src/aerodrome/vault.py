"""Envelope encryption (AES-256-GCM): the master key wraps data keys, data keys seal what there is.

Of the master key there may be two for a moment: while it is exchanged (`machineroom.keys`), the next one lies beside
it. What is sealed from then on is sealed under the next one; both open.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aerodrome.errors import Permanent
from aerodrome.layout import Layout

_NONCE = 12
KEY_BYTES = 32
_WRAPPED = _NONCE + KEY_BYTES + 16


class KeyUnusable(Permanent):
    """A key that isn't ours, and that something was sealed under, can't be used; the message says what to do."""


class Seal(Protocol):
    """Seals for a `context`, which is authenticated: what was moved to another row doesn't open there."""

    def seal(self, plaintext: bytes, context: str) -> bytes: ...

    def open(self, sealed: bytes, context: str) -> bytes: ...


class DataKey:
    """The key that everything of one environment is sealed under."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, plaintext: bytes, context: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._aead.encrypt(nonce, plaintext, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """The plaintext.

        Raises:
            Permanent: another key sealed it, it belongs elsewhere, or it is damaged.
        """
        try:
            return self._aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], context.encode())
        except (InvalidTag, ValueError) as error:
            raise Permanent(f"What is sealed for {context} doesn't open with its data key.") from error


class MasterKeyFiles:
    """The master keys of an installation, the newest first; read again when their files have changed.

    A process that runs on while the key is exchanged so knows the next one before anything is sealed under it.
    """

    def __init__(self, layout: Layout) -> None:
        self._paths = (layout.next_master_key, layout.master_key)
        self._stamps: list[tuple[int, int] | None] = []
        self._keys: tuple[bytes, ...] = ()

    def __call__(self) -> tuple[bytes, ...]:
        """Raises FileNotFoundError: there is none. Permanent: one is damaged."""
        stamps = [_stamp(path) for path in self._paths]
        if stamps != self._stamps:
            found = []
            for path in self._paths:  # in this order: it is renamed from the one to the other
                with suppress(FileNotFoundError):
                    found.append(_checked(path, path.read_bytes()))
            if not found:
                raise FileNotFoundError(2, os.strerror(2), str(self._paths[-1]))
            self._stamps, self._keys = stamps, tuple(dict.fromkeys(found))
        return self._keys


class Vault:
    """What the master key seals: each record under a data key of its own, which the master key wraps.

    A master key that was exchanged goes on opening what this process reads, until the process ends: it may have fetched
    a row just before. A new process doesn't know it any more.
    """

    def __init__(self, master_key: bytes | Callable[[], tuple[bytes, ...]]) -> None:
        """`master_key`: the key, or what tells all keys there are, the newest first."""
        self._source = (lambda: (master_key,)) if isinstance(master_key, bytes) else master_key
        self._known: dict[bytes, AESGCM] = {}
        self._newest()

    def seal(self, plaintext: bytes, context: str) -> bytes:
        key, inner, aad = os.urandom(KEY_BYTES), os.urandom(_NONCE), context.encode()
        return self._wrap(key, aad) + inner + AESGCM(key).encrypt(inner, plaintext, aad)

    def open(self, sealed: bytes, context: str) -> bytes:
        """The plaintext.

        Raises:
            Permanent: another master key sealed it, it belongs elsewhere, or it is damaged.
        """
        aad, body = context.encode(), sealed[_WRAPPED:]
        try:
            key, _ = self._unwrap(sealed, aad)
            return AESGCM(key).decrypt(body[:_NONCE], body[_NONCE:], aad)
        except (InvalidTag, ValueError) as error:
            raise _other_key(context) from error

    def rewrapped(self, sealed: bytes, context: str) -> bytes | None:
        """The same record with its data key under the newest master key; None when it is there already.

        Raises:
            Permanent: as `open`, but for damage of what the data key seals, which isn't looked at.
        """
        aad = context.encode()
        try:
            key, is_newest = self._unwrap(sealed, aad)
        except (InvalidTag, ValueError) as error:
            raise _other_key(context) from error
        return None if is_newest else self._wrap(key, aad) + sealed[_WRAPPED:]

    def _wrap(self, key: bytes, aad: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._newest().encrypt(nonce, key, aad)

    def _unwrap(self, sealed: bytes, aad: bytes) -> tuple[bytes, bool]:
        newest = self._newest()
        for master in (newest, *(known for known in self._known.values() if known is not newest)):
            with suppress(InvalidTag):
                return master.decrypt(sealed[:_NONCE], sealed[_NONCE:_WRAPPED], aad), master is newest
        raise InvalidTag

    def _newest(self) -> AESGCM:
        keys = self._source()
        for key in keys:
            if len(key) != KEY_BYTES:
                raise Permanent("The master key is damaged: it must be 32 bytes. Restore it from a backup.")
            if key not in self._known:
                self._known[key] = AESGCM(key)
        return self._known[keys[0]]


def vault_of(layout: Layout) -> Vault:
    """That of an installation.

    Raises:
        Permanent: its master key is gone, or damaged.
    """
    try:
        return Vault(MasterKeyFiles(layout))
    except FileNotFoundError:
        raise Permanent(
            f"{layout.master_key} is gone, and this installation can't be read without it. Restore it from a backup."
        ) from None


def _other_key(context: str) -> Permanent:
    return Permanent(f"The secrets of {context} don't open with this master key.")


def _checked(path: Path, key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise Permanent(
            f"{path} is damaged: it has {len(key)} bytes, not {KEY_BYTES}, and nothing that is sealed can be read "
            "without it. Restore it from a backup."
        )
    return key


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns

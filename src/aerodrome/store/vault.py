"""Envelope encryption: each record under its own data key, each data key under the master key (AES-256-GCM)."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aerodrome.errors import Permanent

_NONCE = 12
_WRAPPED = _NONCE + 32 + 16


class Vault:
    """Seals records. The `context` is authenticated: a record moved to another row doesn't open."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != 32:
            raise Permanent("The master key is damaged: it must be 32 bytes. Restore it from a backup.")
        self._master = AESGCM(master_key)

    def seal(self, plaintext: bytes, context: str) -> bytes:
        key, outer, inner = os.urandom(32), os.urandom(_NONCE), os.urandom(_NONCE)
        aad = context.encode()
        return outer + self._master.encrypt(outer, key, aad) + inner + AESGCM(key).encrypt(inner, plaintext, aad)

    def open(self, sealed: bytes, context: str) -> bytes:
        """The plaintext.

        Raises:
            Permanent: another master key sealed it, it belongs elsewhere, or it is damaged.
        """
        aad = context.encode()
        wrapped, body = sealed[:_WRAPPED], sealed[_WRAPPED:]
        try:
            key = self._master.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], aad)
            return AESGCM(key).decrypt(body[:_NONCE], body[_NONCE:], aad)
        except (InvalidTag, ValueError) as error:
            raise Permanent(f"The secrets of {context} don't open with this master key.") from error

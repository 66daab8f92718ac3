"""Encryption at rest: AES-256-GCM, names hidden behind a keyed hash, both keys derived from the key file."""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_NONCE = 12
_TAG = 16
_FRAME = 8 * 1024 * 1024


class WrongSeal(Exception):
    """The bytes weren't sealed with this key under this name, or they have been changed or cut."""


class Sealer:
    """Seals and names. A sealed value opens only under the label (`context`) that it was sealed for."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(HKDFExpand(SHA256(), 32, b"aerodrome cloud: values").derive(key))
        self._naming = HKDFExpand(SHA256(), 32, b"aerodrome cloud: names").derive(key)

    def name(self, content: bytes) -> bytes:
        """A name for `content` that tells nothing about it: equal content, equal name."""
        return hmac.digest(self._naming, content, hashlib.sha256)

    def seal(self, value: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._aead.encrypt(nonce, value, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Raises:
        WrongSeal: see there.
        """
        if len(sealed) < _NONCE + _TAG:
            raise WrongSeal
        try:
            return self._aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], context)
        except InvalidTag:
            raise WrongSeal from None

    def seal_large(self, value: bytes, context: bytes) -> list[bytes]:
        """Frames of up to 8 MiB, each bound to its place and to whether it is the last: no frame can go missing."""
        view = memoryview(value)
        count = max(1, -(-len(value) // _FRAME))
        return [
            self.seal(bytes(view[i * _FRAME : (i + 1) * _FRAME]), _frame_context(context, i, i == count - 1))
            for i in range(count)
        ]

    def open_large(self, sealed: bytes, context: bytes) -> bytes:
        """Raises:
        WrongSeal: see there.
        """
        size = _NONCE + _FRAME + _TAG
        view = memoryview(sealed)
        count = max(1, -(-len(sealed) // size))
        return b"".join(
            self.open(bytes(view[i * size : (i + 1) * size]), _frame_context(context, i, i == count - 1))
            for i in range(count)
        )


def _frame_context(context: bytes, index: int, last: bool) -> bytes:
    return context + b"|%d|%d" % (index, last)

"""Certificates for programs that can't be told a password."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from aerodrome.pki import Served


def plain_key(served: Served) -> bytes:
    key = load_pem_private_key(served.key.read_bytes(), served.password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def chain(served: Served) -> bytes:
    text = served.chain.read_bytes()
    return text[text.index(b"-----BEGIN CERTIFICATE") :]


def write_plain(served: Served, path: Path) -> Path:
    """One file with both."""
    path.touch(mode=0o600)
    path.write_bytes(plain_key(served) + chain(served))
    return path

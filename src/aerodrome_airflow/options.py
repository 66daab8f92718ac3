"""Options that a component doesn't read itself, and DAGs in it may ask for all the same: they change while it runs.

They lie in a file that is written whole, sealed (AES-256-GCM) under a key that is among our variables. Airflow looks
into the environment at every `conf.get`, so that is where they go: when the component starts, and in each process
that it forks, a task's or a DAG file's, if the file was changed.
"""

from __future__ import annotations

import base64
import json
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VARIABLE = "AERODROME_OPTIONS"  # where the file is
KEY = "AERODROME_OPTIONS_KEY"  # url-safe base64 of 32 bytes
_NONCE, _CONTEXT = 12, b"options"  # as `aerodrome.vault.DataKey` seals

_seen: tuple[int, int] | None = None  # inode and time of the file as it was read last
_ours: frozenset[str] = frozenset()  # variables that came from it


def install() -> None:
    """Read the file now, and again in every process that this one forks."""
    load()
    os.register_at_fork(after_in_child=load)


def load() -> None:
    """Make the environment what the file says. One that can't be read changes nothing."""
    global _seen, _ours
    path = os.environ.get(VARIABLE)
    if path is None:
        return
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            seen = (found.st_ino, found.st_mtime_ns)
            if seen == _seen:
                return
            options: dict[str, str] = json.loads(_opened(file.read()))
    except (OSError, ValueError, InvalidTag):
        return
    for name in _ours - options.keys():
        os.environ.pop(name, None)
    os.environ.update(options)
    _seen, _ours = seen, frozenset(options)


def _opened(sealed: bytes) -> bytes:
    """Raises ValueError, InvalidTag: it is torn, or sealed under another key."""
    key = AESGCM(base64.urlsafe_b64decode(os.environ.get(KEY, "")))
    return key.decrypt(sealed[:_NONCE], sealed[_NONCE:], _CONTEXT)

"""Ids and secrets as AWS's look."""

from __future__ import annotations

import secrets
import string

_BASE32 = string.ascii_uppercase + "234567"


def new_id(prefix: str) -> str:
    """20 characters: the prefix says what it is of (`domain.iam.PREFIXES`)."""
    return prefix + "".join(secrets.choice(_BASE32) for _ in range(16))


def new_secret() -> str:
    """Of an access key: 40 characters, 240 random bits."""
    return secrets.token_urlsafe(30)

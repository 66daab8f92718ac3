"""Opaque page tokens: sealed, so that they survive a restart and can't be forged or used elsewhere."""

from __future__ import annotations

import base64

from aerodrome.errors import ApiError, Permanent, validation_error
from aerodrome.vault import Vault


def seal_token(vault: Vault, scope: str, position: str) -> str:
    return _text(vault.seal(position.encode(), scope))


def open_token(vault: Vault, scope: str, token: str | None) -> str:
    """The position in the token; empty without one.

    Raises:
        ApiError: ValidationException for a token that is not ours or of another scope.
    """
    if not token:
        return ""
    try:
        sealed = base64.urlsafe_b64decode(token)
        position = vault.open(sealed, scope).decode()
    except (Permanent, ValueError) as error:
        raise _invalid() from error
    if _text(sealed) != token:  # the decoder skips what isn't base64; one position has one spelling
        raise _invalid()
    return position


def _text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).decode()


def _invalid() -> ApiError:
    return validation_error("NextToken: the token is not valid here; start again without one.")

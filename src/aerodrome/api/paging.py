"""Opaque page tokens: sealed, so that they survive a restart and can't be forged or used elsewhere."""

from __future__ import annotations

import base64
import binascii

from aerodrome.errors import Permanent, validation_error
from aerodrome.store.vault import Vault


def seal_token(vault: Vault, scope: str, position: str) -> str:
    return base64.urlsafe_b64encode(vault.seal(position.encode(), scope)).decode()


def open_token(vault: Vault, scope: str, token: str | None) -> str:
    """The position in the token; empty without one.

    Raises:
        ApiError: ValidationException for a token that is not ours or of another scope.
    """
    if not token:
        return ""
    try:
        return vault.open(base64.urlsafe_b64decode(token), scope).decode()
    except (Permanent, binascii.Error, ValueError) as error:
        raise validation_error("NextToken: the token is not valid; start again without one.") from error

"""Why somebody couldn't sign in through the provider: said so that a person at a browser knows what to do."""

from __future__ import annotations

import re

_CODE = re.compile(r"[a-z_]{1,64}")


class SignInError(Exception):
    """The message goes to a stranger's browser and into the log: it never holds a code, a token or a secret."""

    status = 403


class ProviderAway(SignInError):
    """The provider doesn't answer, or not as OpenID Connect has it."""

    status = 502


def error_code(value: object) -> str:
    """An OAuth error code, safe to show; what doesn't look like one may be anything."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else "an error without a code"

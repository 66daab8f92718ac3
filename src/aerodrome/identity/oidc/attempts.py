"""Sign-ins that are under way: nothing is kept of them here but a signed cookie in the browser that began."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.jws import JWSRegistry

from aerodrome.identity.oidc.provider import Attempt

LIFETIME = 600  # seconds to sign in at the provider
_MANY = 100_000  # used ones that are remembered
_SIGNED = JWSRegistry(algorithms=["HS256"])


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that this browser began."""

    attempt: Attempt
    environment_id: str
    following: str  # the path that the person wanted
    expires: int  # Unix seconds


class Attempts:
    """Makes and reads the cookies.

    Nonce and PKCE verifier are made of the state under our own key, so that they are in no cookie: Airflow, and with it
    the code of an environment's authors, sees the browser's cookies.
    """

    def __init__(self, key: bytes, now: Callable[[], datetime]) -> None:
        self._key = key
        self._cookie_key = OctKey.import_key(self._derive("cookie", ""))
        self._now = now
        self._used: dict[str, int] = {}  # state -> when its cookie expires anyway

    def begin(self, environment_id: str, redirect_uri: str, following: str) -> tuple[Begun, str]:
        """A new sign-in, and its cookie."""
        expires = self._seconds() + LIFETIME
        begun = self._begun(secrets.token_urlsafe(32), environment_id, redirect_uri, following, expires)
        claims = {
            "state": begun.attempt.state,
            "env": environment_id,
            "uri": redirect_uri,
            "next": following,
            "exp": expires,
        }
        return begun, jwt.encode({"alg": "HS256"}, claims, self._cookie_key, registry=_SIGNED)

    def read(self, cookie: str, environment_id: str, redirect_uri: str) -> Begun | None:
        """The sign-in that the cookie was made for. None: altered, expired, or of another environment or host."""
        try:
            claims = jwt.decode(cookie, self._cookie_key, registry=_SIGNED).claims
            state, expires, following = claims["state"], claims["exp"], claims["next"]
            whose = (claims["env"], claims["uri"])
        except (JoseError, ValueError, KeyError):
            return None
        if whose != (environment_id, redirect_uri) or expires <= self._seconds():
            return None
        return self._begun(state, environment_id, redirect_uri, following, expires)

    def use(self, begun: Begun) -> bool:
        """Whether it is used for the first time. A control plane that starts anew forgets; the provider doesn't."""
        now = self._seconds()
        while self._used and (len(self._used) > _MANY or next(iter(self._used.values())) <= now):
            del self._used[next(iter(self._used))]
        if begun.attempt.state in self._used:
            return False
        self._used[begun.attempt.state] = begun.expires
        return True

    def _begun(self, state: str, environment_id: str, redirect_uri: str, following: str, expires: int) -> Begun:
        nonce, verifier = (
            base64.urlsafe_b64encode(self._derive(what, state)).rstrip(b"=").decode() for what in ("nonce", "verifier")
        )
        return Begun(Attempt(state, nonce, verifier, redirect_uri), environment_id, following, expires)

    def _derive(self, what: str, state: str) -> bytes:
        return hmac.new(self._key, f"{what}:{state}".encode(), hashlib.sha256).digest()

    def _seconds(self) -> int:
        return int(self._now().timestamp())

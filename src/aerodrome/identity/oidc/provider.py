"""The identity provider: the authorization code flow with PKCE (RFC 6749, RFC 7636; OpenID Connect Core 1.0, 3.1)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus, urlsplit

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwk

from aerodrome.domain.sign_in import Person
from aerodrome.identity.oidc.asking import Asking
from aerodrome.identity.oidc.config import OidcConfig
from aerodrome.identity.oidc.errors import ProviderAway, SignInError, error_code
from aerodrome.identity.oidc.id_token import UnknownKey, keys_of, verified
from aerodrome.identity.oidc.metadata import PATH, Metadata, metadata_of

_FRESH = 3600.0  # seconds for which discovery document and keys are good
_NEW_KEYS = 5.0  # seconds between two looks for a key that we don't know
_TOLD = 2.0  # seconds for which a failure is passed on to others: who waits behind it would wait as long again
_NAMES = ("preferred_username", "email", "sub")
_LONGEST = 512  # characters of a name or subject


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one sign-in is bound to: the browser's own values, and the address that the provider sends it back to."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class _Known:
    metadata: Metadata
    keys: jwk.KeySet
    since: float
    keys_since: float


class Provider:
    """Asked by discovery when somebody signs in, never before: a provider that is away keeps nothing from starting."""

    def __init__(
        self,
        config: OidcConfig,
        asking: Asking,
        now: Callable[[], datetime],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._asking = asking
        self._now = now
        self._clock = clock
        self._known: _Known | None = None
        self._failed: tuple[float, str] | None = None
        self._looking = asyncio.Lock()

    @property
    def issuer(self) -> str:
        return self._config.issuer

    @property
    def name(self) -> str:
        """What a person knows it by."""
        return urlsplit(self._config.issuer).netloc

    async def authorization_url(self, attempt: Attempt) -> str:
        """Where the browser is sent to.

        Raises:
            SignInError: the provider can't be asked, or says what can't be believed.
        """
        known = await self._look()
        return str(
            prepare_grant_uri(
                known.metadata.authorization_endpoint,
                client_id=self._config.client_id,
                response_type="code",
                redirect_uri=attempt.redirect_uri,
                scope=" ".join(self._config.scopes),
                state=attempt.state,
                nonce=attempt.nonce,
                code_challenge=create_s256_code_challenge(attempt.verifier),
                code_challenge_method="S256",
            )
        )

    async def check_issuer(self, named: str | None) -> None:
        """Raises:
        SignInError: another provider gave this answer, or ours doesn't say that it did (RFC 9207).
        """
        metadata = (await self._look()).metadata
        if (named is None and metadata.names_itself) or named not in (None, metadata.issuer):
            raise SignInError(f"This answer does not come from {self.name}.")

    async def person(self, code: str, attempt: Attempt) -> Person:
        """Whom the code stands for.

        Raises:
            SignInError: the provider takes the code for nobody, can't be asked, or says what can't be believed.
        """
        known = await self._look()
        tokens = await self._redeem(known.metadata, code, attempt)
        access_token = tokens.get("access_token")
        access_token = access_token if isinstance(access_token, str) else None
        claims = await self._claims(tokens.get("id_token"), attempt.nonce, access_token)
        if self._lacks(claims):
            claims = {**await self._userinfo(known.metadata, access_token, claims["sub"]), **claims}
        if len(claims["sub"]) > _LONGEST:
            raise SignInError(f"{self.name} gave a subject of more than {_LONGEST} characters.")
        return Person(self._config.issuer, claims["sub"], self._name_in(claims), self._groups_in(claims))

    async def _redeem(self, metadata: Metadata, code: str, attempt: Attempt) -> Mapping[str, Any]:
        config = self._config
        body = prepare_token_request(
            "authorization_code", code=code, redirect_uri=attempt.redirect_uri, code_verifier=attempt.verifier
        )
        if config.client_secret is None:
            auth = ClientAuth(config.client_id, None, "none")
        elif metadata.posts_secret:
            auth = ClientAuth(config.client_id, config.client_secret, "client_secret_post")
        else:  # RFC 6749, 2.3.1: each encoded as in a form
            auth = ClientAuth(quote_plus(config.client_id), quote_plus(config.client_secret), "client_secret_basic")
        headers = {"content-type": "application/x-www-form-urlencoded"}
        url, headers, body = auth.prepare("POST", metadata.token_endpoint, headers, body)
        status, answer = await self._asking.json("POST", url, headers=headers, body=body)
        if status != 200:
            reason = error_code(answer.get("error"))
            if reason == "invalid_client":
                raise ProviderAway(f"{self.name} doesn't know us: check AERODROME_OIDC_CLIENT_ID and its secret.")
            raise SignInError(f"{self.name} did not accept its own sign-in code ({reason}). It may have been too late.")
        return answer

    async def _claims(self, id_token: object, nonce: str, access_token: str | None) -> dict[str, Any]:
        if not isinstance(id_token, str):
            raise SignInError(f"{self.name} gave no ID token.")

        def read(known: _Known) -> dict[str, Any]:
            return verified(
                id_token,
                known.keys,
                known.metadata,
                client_id=self._config.client_id,
                nonce=nonce,
                access_token=access_token,
                now=int(self._now().timestamp()),
            )

        known = await self._look()
        try:
            return read(known)
        except UnknownKey:
            return read(await self._look(keys_before=self._clock() - _NEW_KEYS))

    def _lacks(self, claims: Mapping[str, Any]) -> bool:
        return self._config.groups_claim not in claims or self._first_name(claims) in (None, "sub")

    async def _userinfo(self, metadata: Metadata, access_token: str | None, subject: str) -> Mapping[str, Any]:
        if metadata.userinfo_endpoint is None or access_token is None:
            return {}
        headers = {"authorization": f"Bearer {access_token}"}
        status, answer = await self._asking.json("GET", metadata.userinfo_endpoint, headers=headers)
        if status != 200:
            raise ProviderAway(f"{self.name} answered {status} when asked about the user.")
        if answer.get("sub") != subject:  # Core 1.0, 5.3.2
            raise SignInError(f"{self.name} told about another user than the one who signed in.")
        return answer

    def _first_name(self, claims: Mapping[str, Any]) -> str | None:
        wanted = _NAMES if self._config.user_claim is None else (self._config.user_claim,)
        usable = (each for each in wanted if each != "email" or claims.get("email_verified") is not False)
        return next((each for each in usable if isinstance(claims.get(each), str) and claims[each].strip()), None)

    def _name_in(self, claims: Mapping[str, Any]) -> str:
        claim = self._first_name(claims)
        if claim is None:
            wanted = self._config.user_claim
            raise SignInError(f"{self.name} gave no claim {wanted}, which AERODROME_OIDC_USER_CLAIM names users by.")
        name = str(claims[claim]).strip()
        if not name.isprintable() or len(name) > _LONGEST:
            raise SignInError(f"{self.name} gave a user name that is no name: too long, or not printable.")
        return name

    def _groups_in(self, claims: Mapping[str, Any]) -> frozenset[str]:
        claim = self._config.groups_claim
        found = claims.get(claim)
        elsewhere = claims.get("_claim_names")
        if found is None and isinstance(elsewhere, dict) and claim in elsewhere:
            raise SignInError(
                f"{self.name} left out the groups, since the user is in too many of them. "
                "Have it send only the groups that are assigned to this application, or use its roles claim."
            )
        groups = [found] if isinstance(found, str) else found if isinstance(found, list) else []
        return frozenset(each for each in groups if isinstance(each, str))

    async def _look(self, *, keys_before: float | None = None) -> _Known:
        """What is known of the provider; with `keys_before`, its keys asked for again unless they are newer."""
        async with self._looking:  # many who sign in at once ask once
            if self._failed is not None and self._clock() - self._failed[0] < _TOLD:
                raise ProviderAway(self._failed[1])
            try:
                known = self._known = await self._ask(keys_before)
            except ProviderAway as error:
                self._failed = (self._clock(), str(error))
                raise
            self._failed = None
            return known

    async def _ask(self, keys_before: float | None) -> _Known:
        known, now = self._known, self._clock()
        if known is None or now - known.since >= _FRESH:
            metadata = metadata_of(await self._get(self._config.issuer + PATH), self._config.issuer)
            return _Known(metadata, keys_of(await self._get(metadata.jwks_uri)), now, now)
        if keys_before is not None and known.keys_since <= keys_before:
            return replace(known, keys=keys_of(await self._get(known.metadata.jwks_uri)), keys_since=now)
        return known

    async def _get(self, url: str) -> Mapping[str, Any]:
        status, answer = await self._asking.json("GET", url)
        if status != 200:
            raise ProviderAway(f"{self.name} answered {status} for {url}.")
        return answer

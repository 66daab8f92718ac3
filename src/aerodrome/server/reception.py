"""Who is signed in to web servers, and whether they may still be: the gateway's tokens and sessions."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import cast

from aerodrome.api.airflow_session import AirflowSessions
from aerodrome.domain.sign_in import PREFIX, People, Person, airflow_name, takes_part
from aerodrome.domain.update import in_force
from aerodrome.errors import Temporary
from aerodrome.gateway.ports import CliGrant, Principal, Redeemed, Session
from aerodrome.identity.standing import Standing
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.sessions import SessionStore, StoredSession
from aerodrome.store.tokens import Grant, TokenStore, digest

log = logging.getLogger(__name__)

_SEEN_EVERY = timedelta(minutes=1)


class Reception:
    """`gateway.ports.Tokens`, `Sessions` and `People` on our tables.

    A session is looked up for every request, and so is whoever opened it: a key, user, role or permission that is gone
    ends it within the time that the source of principals keeps its answers (2 s).
    """

    def __init__(
        self,
        environments: EnvironmentStore,
        tokens: TokenStore,
        sessions: SessionStore,
        standing: Standing,
        rest_sessions: AirflowSessions,
        now: Callable[[], datetime],
        people: People | None = None,
    ) -> None:
        self._environments = environments
        self._tokens = tokens
        self._sessions = sessions
        self._standing = standing
        self._rest_sessions = rest_sessions
        self._now = now
        self._people = people

    async def redeem_web_token(self, token: str) -> Redeemed | None:
        grant = await self._tokens.redeem_web(token, self._now())
        if grant is None or not await self._stands(grant, "CreateWebLoginToken"):
            return None
        self._rest_sessions.forget(grant.environment_id, grant.username)  # the sign-in that follows sets its roles
        return Redeemed(grant.environment_id, grant.username, grant.roles, grant.iam_identity, (digest(token), grant))

    async def admit_person(self, environment_id: str, person: Person, client: str) -> Redeemed | None:
        """As if they had had a web token: one is made and used up, so that whoever revokes finds it."""
        environment = await self._environments.by_id(environment_id)
        people = self._people
        if people is None or environment is None or not takes_part(in_force(environment).desired, people.issuer):
            return None
        roles = people.roles(person.groups, environment.key.name)
        if not roles:
            return None
        reference = people.reference(person, environment.key.name).to_json()
        name = airflow_name(person.name)
        token = secrets.token_urlsafe(48)
        await self._tokens.add(
            token, "web", Grant(environment_id, name, PREFIX + person.name, roles, reference, client), self._now()
        )
        return await self.redeem_web_token(token)

    async def check_cli_token(self, token: str) -> CliGrant | None:
        grant = await self._tokens.check_cli(token, self._now())
        if grant is None or not await self._stands(grant, "CreateCliToken"):
            return None
        return CliGrant(grant.environment_id, grant.iam_identity)

    async def open_session(self, credential_hash: str, redeemed: Redeemed, expires: datetime) -> bool:
        token, grant = cast("tuple[bytes, Grant]", redeemed.voucher)
        return await self._sessions.open(credential_hash, grant, self._now(), expires, token) is not None

    async def follow_session(self, credential_hash: str, session_id: str) -> None:
        await self._sessions.follow(credential_hash, session_id)

    async def session(self, credential_hash: str) -> Session | None:
        now = self._now()
        found = await self._sessions.find(credential_hash, now)
        if found is None:
            return None
        lost = await self._standing.lost(found.grant, "CreateWebLoginToken", found.key, found.tags, known=found.id)
        if lost is not None:
            # For good: a permission that comes back lets nobody in who had not been asked for a new token.
            if await self._sessions.end([found.id], lost):
                log.info("environment %s: %s is signed out: %s", found.key.name, found.grant.username, lost)
            return None
        await self._note(found, now)
        principal = Principal(found.grant.username, found.grant.roles, found.grant.iam_identity)
        issuer = found.grant.reference.get("issuer")
        return Session(found.id, found.grant.environment_id, principal, found.expires, issuer)

    async def end_session(self, session_id: str) -> None:
        await self._sessions.end([session_id], "signed out")

    async def _stands(self, grant: Grant, operation: str) -> bool:
        environment = await self._environments.by_id(grant.environment_id)
        if environment is None:
            return False
        return await self._standing.lost(grant, operation, environment.key, environment.tags) is None

    async def _note(self, found: StoredSession, now: datetime) -> None:
        if now - found.seen >= _SEEN_EVERY:
            try:
                await self._sessions.seen(found.id, now)
            except Temporary as error:  # a disk that is full keeps nobody from reading
                log.warning("session %s: that it was used can't be noted: %s", found.id, error)

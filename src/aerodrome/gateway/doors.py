"""Who may pass: the session behind a request's credentials, and new sessions when Airflow hands out new cookies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from aerodrome.gateway.headers import RawHeaders, bearers, cookies, set_cookie
from aerodrome.gateway.identity import credential_hash
from aerodrome.gateway.ports import Backstage, Principal, Route, Session


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may pass: its session, and the hashes of the credentials it showed."""

    session: Session
    hashes: frozenset[str]


def presented(route: Route, headers: RawHeaders) -> frozenset[str]:
    """Hashes of every credential in the request that Airflow might believe."""
    return frozenset(map(credential_hash, [*cookies(headers, route.cookie_name), *bearers(headers)]))


async def admit(backstage: Backstage, route: Route, headers: RawHeaders) -> Admitted | None:
    """The session behind the request. None: refused.

    EVERY credential shown must be a live session of this environment: Airflow might pick another one than we do (it
    prefers the cookie in one place, the bearer token in another).
    """
    hashes = presented(route, headers)
    sessions: list[Session] = []
    for each in sorted(hashes):
        session = await backstage.sessions.session(each)
        if session is None or session.environment_id != route.environment_id or session.expires <= backstage.now():
            return None
        sessions.append(session)
    if not sessions:
        return None
    return Admitted(min(sessions, key=lambda session: session.expires), hashes)


async def open_session(backstage: Backstage, route: Route, principal: Principal, cookie: str) -> None:
    """Let the bearer of Airflow's new cookie pass for 12 hours (mwaa-spec 7.2)."""
    expires = backstage.now() + timedelta(seconds=backstage.limits.session)
    await backstage.sessions.remember_session(credential_hash(cookie), route.environment_id, principal, expires)


async def follow_rotation(
    backstage: Backstage, route: Route, admitted: Admitted, headers: Iterable[tuple[bytes, bytes]]
) -> None:
    """Airflow may replace its cookie in any answer: the new one continues the same session, to the same end."""
    for name, value in headers:
        if name != b"set-cookie":
            continue
        cookie, content = set_cookie(value)
        if cookie != route.cookie_name or not content:
            continue
        hashed = credential_hash(content)
        if hashed not in admitted.hashes:
            session = admitted.session
            await backstage.sessions.remember_session(hashed, route.environment_id, session.principal, session.expires)


async def revoke(backstage: Backstage, hashes: Sequence[str] | frozenset[str]) -> None:
    """End the sessions of all credentials shown."""
    for each in hashes:
        await backstage.sessions.revoke_session(each)

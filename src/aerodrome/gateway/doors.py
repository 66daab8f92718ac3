"""Who may pass: the session behind a request's credentials, and new sessions when Airflow hands out new cookies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from aerodrome.errors import Temporary
from aerodrome.gateway.headers import RawHeaders, bearers, cookies, set_cookie
from aerodrome.gateway.identity import credential_hash
from aerodrome.gateway.ports import Backstage, Redeemed, Route, Session


class Ended(Exception):
    """The session has ended while its request was being answered."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may pass: the session of every credential it showed, by hash. At least one."""

    sessions: dict[str, Session]

    @property
    def session(self) -> Session:
        """The one that ends first."""
        return min(self.sessions.values(), key=lambda session: session.expires)


def presented(route: Route, headers: RawHeaders) -> frozenset[str]:
    """Hashes of every credential in the request that Airflow might believe."""
    return frozenset(map(credential_hash, [*cookies(headers, route.cookie_name), *bearers(headers)]))


async def admit(backstage: Backstage, route: Route, headers: RawHeaders) -> Admitted | None:
    """The session behind the request. None: refused.

    EVERY credential shown must be a live session of this environment: Airflow might pick another one than we do (it
    prefers the cookie in one place, the bearer token in another).
    """
    sessions: dict[str, Session] = {}
    for each in sorted(presented(route, headers)):
        session = await backstage.sessions.session(each)
        if session is None or session.environment_id != route.environment_id or session.expires <= backstage.now():
            return None
        if session.issuer is not None and session.issuer != route.issuer:
            # For good: a StartUrl that comes back lets nobody in who didn't sign in anew.
            await backstage.sessions.end_session(session.id)
            return None
        sessions[each] = session
    return Admitted(sessions) if sessions else None


@asynccontextmanager
async def while_admitted(backstage: Backstage, route: Route, headers: RawHeaders) -> AsyncIterator[None]:
    """Run the block for as long as the request would be admitted: a log that is followed ends with its session.

    Raises:
        Ended.
    """
    loop, watching = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    every = backstage.limits.recheck

    async def watch() -> None:
        while True:
            try:
                if await admit(backstage, route, headers) is None:
                    deadline.reschedule(loop.time())
                    return
            except Temporary:
                pass  # the next look will tell
            await asyncio.sleep(every)

    # Most answers are over by then, and cost a timer.
    timer = loop.call_later(every, lambda: watching.add(loop.create_task(watch())))
    try:
        async with asyncio.timeout(None) as deadline:
            yield
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise Ended from error
    finally:
        timer.cancel()
        for task in watching:
            task.cancel()


async def open_session(backstage: Backstage, redeemed: Redeemed, cookie: str) -> bool:
    """Let the bearer of Airflow's new cookie pass for 12 hours (mwaa-spec 7.2), unless the token was revoked."""
    expires = backstage.now() + timedelta(seconds=backstage.limits.session)
    return await backstage.sessions.open_session(credential_hash(cookie), redeemed, expires)


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
        if hashed not in admitted.sessions:
            await backstage.sessions.follow_session(hashed, admitted.session.id)


async def leave(backstage: Backstage, admitted: Admitted) -> None:
    """End the sessions of all credentials shown."""
    for session_id in {session.id for session in admitted.sessions.values()}:
        await backstage.sessions.end_session(session_id)

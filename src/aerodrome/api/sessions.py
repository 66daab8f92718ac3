"""Who is signed in to web servers, and ending that: calls that MWAA doesn't have.

    GET  /_aerodrome/sessions?environment=NAME&region=REGION    -> {"Sessions": [...]}
    POST /_aerodrome/sessions/revoke   {"Id": …} | {"User": …} | {"Environment": …, "Region": …} | {"All": true}
                                       -> {"Revoked": how many}

Signed like every other call (service `airflow`). Authorised on each environment's ARN, as `aerodrome:ListSessions` and
`aerodrome:RevokeSessions`: sessions of an environment for which the caller may not do it aren't there for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from aerodrome.api.access import context_keys
from aerodrome.api.call import Call, Handler
from aerodrome.api.context import Context
from aerodrome.api.history import PREFIX as HISTORY
from aerodrome.api.history import build_history
from aerodrome.domain.environment import Environment
from aerodrome.domain.policy import decide
from aerodrome.errors import ApiError, not_found, validation_error
from aerodrome.store.sessions import StoredSession
from aerodrome.wire import Reply

PREFIX = b"/_aerodrome/sessions"
_REVOKE = PREFIX + b"/revoke"
_HOW = 'The body must be one of {"Id": …}, {"User": …}, {"Environment": …} (with "Region" or without), {"All": true}.'


def build_own_calls(context: Context) -> Handler:
    """The signed calls below `/_aerodrome/`: environments' histories, and sessions."""
    history, sessions = build_history(context), build_sessions(context)

    async def answer(call: Call) -> Reply:
        return await (history if call.raw_path.startswith(HISTORY) else sessions)(call)

    return answer


def build_sessions(context: Context) -> Handler:
    async def answer(call: Call) -> Reply:
        if (call.method, call.raw_path) == ("GET", PREFIX):
            return _json({"Sessions": [_show(each) for each in await _asked_for(context, call)]})
        if (call.method, call.raw_path) == ("POST", _REVOKE):
            return _json({"Revoked": await _revoke(context, call)})
        message = "There are only GET /_aerodrome/sessions and POST /_aerodrome/sessions/revoke."
        raise ApiError("UnknownOperationException", message, 404)

    return answer


async def _asked_for(context: Context, call: Call) -> list[StoredSession]:
    query = parse_qs(call.raw_query.decode("latin-1"))
    name, region = (query.get(each, [None])[-1] for each in ("environment", "region"))
    allowed = await _environments(context, call, "aerodrome:ListSessions")
    return [
        session
        for session in await context.signed_in.all(context.now())
        if session.grant.environment_id in allowed
        and name in (None, session.key.name)
        and region in (None, session.key.region)
    ]


async def _environments(context: Context, call: Call, action: str) -> dict[str, Environment]:
    """In every region: those on which the caller may do this. (Those of other accounts are out of its reach.)"""
    return {
        environment.id: environment
        for environment in await context.store.all()
        if decide(
            call.caller.seen_in(environment.key.partition),
            action,
            environment.key.arn,
            context_keys(context, call, environment),
        ).allowed
    }


@dataclass(frozen=True, slots=True)
class _Choice:
    """What to revoke; what is None is not asked for."""

    id: str | None = None
    user: str | None = None
    environment: str | None = None
    region: str | None = None

    @classmethod
    def of(cls, body: bytes) -> _Choice:
        """Raises:
        ApiError: ValidationException for anything but one choice.
        """
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            parsed = None
        match parsed:
            case {"Id": str(session_id), **rest} if not rest:
                return cls(id=session_id)
            case {"User": str(user), **rest} if user and not rest:
                return cls(user=user)
            case {"Environment": str(name), "Region": str(region), **rest} if not rest:
                return cls(environment=name, region=region)
            case {"Environment": str(name), **rest} if not rest:
                return cls(environment=name)
            case {"All": True, **rest} if not rest:
                return cls()
        raise validation_error(_HOW)

    def covers(self, session: StoredSession) -> bool:
        grant = session.grant
        mine = self.user is None or is_of(grant.username, grant.iam_identity, self.user)
        return mine and self.id in (None, session.id)

    def reaches(self, environment: Environment) -> bool:
        key = environment.key
        return self.environment in (None, key.name) and self.region in (None, key.region)


async def _revoke(context: Context, call: Call) -> int:
    """End the sessions now, and tokens that could open new ones; told in each environment's history.

    Raises:
        ApiError: ValidationException for another body; ResourceNotFoundException for an Id that isn't there.
    """
    choice = _Choice.of(call.body)
    allowed = await _environments(context, call, "aerodrome:RevokeSessions")
    within = {id_ for id_, environment in allowed.items() if choice.reaches(environment)}
    if choice.id is None:  # before the sessions: a token that is used between the two opens one that is seen
        await context.tokens.forget(within, choice.user)
    there = await context.signed_in.all(context.now())
    wanted = [each for each in there if each.grant.environment_id in within and choice.covers(each)]
    if choice.id is not None and not wanted:
        raise not_found("There is no such session; it may have ended. `aerodrome sessions list` shows all.")
    ended = await context.signed_in.end([each.id for each in wanted], f"revoked by {call.caller.arn}")
    for environment_id in {each.grant.environment_id for each in wanted}:
        mine = [each for each in wanted if each.grant.environment_id == environment_id]
        users = ", ".join(sorted({each.grant.username for each in mine}))
        message, data = f"{len(mine)} of {users}", {"sessions": [each.id for each in mine]}
        key = allowed[environment_id].key
        await context.events.append(environment_id, key, "sessions.revoked", message, actor=call.caller.arn, data=data)
    return ended


def is_of(username: str, iam_identity: str, user: str) -> bool:
    """Whether someone is that user: `user/NAME` or NAME, or `assumed-role/ROLE` with all the sessions of the role."""
    return user in (username, iam_identity) or iam_identity == f"user/{user}" or iam_identity.startswith(f"{user}/")


def _show(session: StoredSession) -> dict[str, Any]:
    grant = session.grant
    return {
        "Id": session.id,
        "Environment": session.key.name,
        "Region": session.key.region,
        "AirflowIdentity": grant.username,
        "IamIdentity": grant.iam_identity,
        "AccessKeyId": grant.reference.get("access_key_id"),
        "IdentityProvider": grant.reference.get("issuer"),
        "Roles": list(grant.roles),
        "SourceIp": grant.source_ip,
        "CreatedAt": session.created.timestamp(),
        "ExpiresAt": session.expires.timestamp(),
        "LastSeenAt": session.seen.timestamp(),
    }


def _json(document: Mapping[str, Any]) -> Reply:
    return Reply(200, {"content-type": "application/json"}, json.dumps(document).encode())

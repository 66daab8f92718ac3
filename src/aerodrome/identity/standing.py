"""Whether whoever asked for a token, or is signed in with one, may still: asked as long as they are in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.policy import decide, request_context, roles_allowed
from aerodrome.domain.principal import Principal, PrincipalReference
from aerodrome.domain.sign_in import People, is_person
from aerodrome.errors import Temporary
from aerodrome.identity.source import PrincipalSource

log = logging.getLogger(__name__)

# Seconds for which a yes is good while the source can't be asked. An embedded cloud that restarts is away for a few.
GRACE = 60.0
_MANY = 10_000  # answers that are kept


class Asked(Protocol):
    """What is remembered of the call that it began with (`store.tokens.Grant`)."""

    @property
    def roles(self) -> tuple[str, ...]: ...
    @property
    def reference(self) -> Mapping[str, Any]: ...
    @property
    def source_ip(self) -> str: ...


class Standing:
    """Asks the source of principals, then the policies as they are now.

    Conditions are asked of the call that the token was made with, but of the time that it is now and of the tags that
    the environment has now.
    """

    def __init__(
        self,
        source: PrincipalSource,
        now: Callable[[], datetime],
        *,
        people: People | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`people`: what the groups of the identity provider may do, if there is one."""
        self._source = source
        self._now = now
        self._people = people
        self._clock = clock
        self._stood: dict[str, float] = {}  # by the caller's name for it: when it last stood

    async def lost(
        self, asked: Asked, operation: str, key: EnvironmentKey, tags: Mapping[str, str], *, known: str | None = None
    ) -> str | None:
        """Why it stands no more; None when it does.

        `known` is a name under which a yes is remembered: it is good for `GRACE` seconds while the source is away.

        Raises:
            Temporary: the source is away, and there is no such yes.
        """
        if is_person(asked.reference):
            if self._people is None:
                return "nobody signs in through an identity provider any more"
            return self._people.lost(asked.reference, asked.roles, key.name)
        try:
            principal = await self._source.principal_of(PrincipalReference.from_json(asked.reference))
        except (KeyError, TypeError, ValueError):  # of a release that says it otherwise
            principal = None
        except Temporary:
            if known is not None and self._clock() - self._stood.get(known, -GRACE) < GRACE:
                return None
            raise
        reason = self._reason(principal, asked, operation, key, tags)
        if known is not None:
            self._stood.pop(known, None)
            if reason is None:
                self._stood[known] = self._clock()  # the one that was asked for last comes last
                if len(self._stood) > _MANY:
                    del self._stood[next(iter(self._stood))]
        return reason

    def _reason(
        self, principal: Principal | None, asked: Asked, operation: str, key: EnvironmentKey, tags: Mapping[str, str]
    ) -> str | None:
        if principal is None:
            return "the access key, user or role is gone"
        caller, action = principal.seen_in(key.partition), f"airflow:{operation}"
        context = request_context(now=self._now(), region=key.region, source_ip=asked.source_ip, secure=False)
        context |= {f"aws:ResourceTag/{tag}": value for tag, value in tags.items()}
        if not asked.roles:
            return None if decide(caller, action, key.arn, context).allowed else f"{action} is not allowed any more"
        missing = set(asked.roles) - set(roles_allowed(caller, action, key, context))
        if missing:
            return f"{action} is not allowed any more with the Airflow role {', '.join(sorted(missing))}"
        return None

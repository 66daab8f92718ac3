"""Where keys and policies come from: the embedded cloud's IAM, or a table of our own."""

from __future__ import annotations

from typing import Protocol

from aerodrome.domain.principal import AccessKey, Principal, PrincipalReference


class PrincipalSource(Protocol):
    """What the signature check and the web sessions ask. A change of keys or policies shows within 2 seconds."""

    async def resolve(self, key_id: str, session_token: str | None) -> AccessKey | None:
        """The key with its principal, or None when there is no such key or the token isn't its token.

        A key that is inactive or has expired is handed out as such: `active`, `expires_at`.

        Raises:
            Temporary: the source is away for a moment.
        """
        ...

    async def principal_of(self, reference: PrincipalReference) -> Principal | None:
        """The principal as it is now, with its present policies.

        None: its key is deleted or inactive, or its user or role is gone. Temporary credentials needn't be good any
        more: on MWAA a web session outlives those that it was made with (12 hours), while their role stands.

        Raises:
            Temporary: the source is away for a moment.
        """
        ...

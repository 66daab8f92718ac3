"""The control plane's side of the embedded cloud's private socket, and the same questions asked of real AWS."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from aerodrome.aws.clients import AwsClients
from aerodrome.domain.partitions import moved
from aerodrome.domain.principal import AccessKey, Credentials, ExecutionRole, Principal, PrincipalReference
from aerodrome.domain.service_trust import objection
from aerodrome.errors import Permanent, Temporary

_LINE_LIMIT = 16 * 1024 * 1024  # bytes: a principal with all its policies is one line
_PERMANENT = frozenset({"NotFound", "AccessDenied", "Invalid"})
_REFUSALS = frozenset({"AccessDenied", "ValidationError", "MalformedPolicyDocument", "NoSuchEntity"})


class CloudSocket:
    """Client of the embedded cloud: a `PrincipalSource` and a `RoleSource`.

    Answers of `resolve` are kept for `cache_seconds`: that is how long a revoked key may still be taken. Answers for
    keys that don't exist are not kept, so that a new key works at once.
    """

    def __init__(self, path: Path, *, cache_seconds: float = 2.0, timeout: float = 10.0) -> None:
        self._path = path
        self._cache_seconds = cache_seconds
        self._timeout = timeout
        self._cache: dict[tuple[str, str | None], tuple[float, AccessKey]] = {}
        self._standing: dict[PrincipalReference, tuple[float, Principal]] = {}

    async def ping(self) -> Mapping[str, Any]:
        """`version` of ministack and `pid` of the cloud.

        Raises:
            Temporary: it doesn't answer.
        """
        return await self._ask("ping")

    async def resolve(self, key_id: str, session_token: str | None) -> AccessKey | None:
        """The key with its principal and policies, or None (`PrincipalSource`).

        Raises:
            Temporary: the cloud doesn't answer.
        """
        now = time.monotonic()
        cached = self._cache.get((key_id, session_token))
        if cached is not None and now < cached[0]:
            return cached[1]
        answer = await self._ask("resolve", key_id=key_id, session_token=session_token)
        found = answer["key"]
        if found is None:
            self._cache.pop((key_id, session_token), None)
            return None
        key = _access_key(found)
        self._cache = {name: kept for name, kept in self._cache.items() if now < kept[0]}
        self._cache[key_id, session_token] = (now + self._cache_seconds, key)
        return key

    async def principal_of(self, reference: PrincipalReference) -> Principal | None:
        """The principal as it is now, or None when it stands no more (`PrincipalSource`).

        Raises:
            Temporary: the cloud doesn't answer.
        """
        now = time.monotonic()
        kept = self._standing.get(reference)
        if kept is not None and now < kept[0]:
            return kept[1]
        answer = await self._ask(
            "standing",
            key_id=reference.access_key_id,
            arn=reference.arn,
            user_id=reference.user_id,
            issuer_arn=reference.issuer_arn,
            issuer_id=reference.issuer_id,
            temporary=reference.expires_at is not None,
        )
        self._standing = {name: kept for name, kept in self._standing.items() if now < kept[0] and name != reference}
        if answer["principal"] is None:
            return None
        principal = _principal(answer["principal"], reference)
        self._standing[reference] = (now + self._cache_seconds, principal)
        return principal

    async def confirm(self, role_arn: str, *, source_arn: str | None = None) -> ExecutionRole:
        """The role, if its trust policy lets both services of MWAA assume it for that environment (`RoleSource`).

        Raises:
            Permanent: there is no such role, or it doesn't trust one of them.
            Temporary: the cloud doesn't answer.
        """
        found = (await self._ask("role", role_arn=role_arn))["role"]
        if source_arn is not None:
            trust = moved(found["trust"], source_arn.split(":")[1])
            problem = objection(trust, role_arn, source_arn, datetime.now(UTC))
            if problem is not None:
                raise Permanent(problem)
        return ExecutionRole(found["user_id"], _principal(found, None))

    async def assume_role(
        self, role_arn: str, session_name: str, duration: int = 3600, *, source_arn: str | None = None
    ) -> Credentials:
        """Credentials of the role for `airflow-env.amazonaws.com` (`RoleSource`), as long as the role allows.

        `source_arn` is the environment's ARN, for trust policies with a condition on `aws:SourceArn`.

        Raises:
            Permanent: there is no such role, or it doesn't trust the service.
            Temporary: the cloud doesn't answer.
        """
        await self.confirm(role_arn, source_arn=source_arn)
        answer = await self._ask(
            "assume_role", role_arn=role_arn, session_name=session_name, duration=duration, source_arn=source_arn
        )
        return _credentials(answer["credentials"])

    async def assume_service_role(self, account: str) -> Credentials:
        """Credentials of `AWSServiceRoleForAmazonMWAA` in the account, for an hour: what our service itself may do.

        Raises:
            Permanent: somebody changed the role so that it doesn't trust the service any more.
            Temporary: the cloud doesn't answer.
        """
        answer = await self._ask("assume_service_role", account=account, session_name="aerodrome")
        return _credentials(answer["credentials"])

    async def has_service_role(self, account: str) -> bool:
        """Whether that role is there already, in the account.

        Raises:
            Temporary: the cloud doesn't answer.
        """
        return bool((await self._ask("has_service_role", account=account))["there"])

    async def flush(self) -> None:
        """Wait until all state is on disk.

        Raises:
            Temporary: the cloud doesn't answer, or can't write.
        """
        await self._ask("flush")

    async def ensure_admin(self, user: str, access_key: str, secret_key: str, account: str) -> None:
        """Make `user` an administrator of the account with exactly this key. Idempotent.

        Raises:
            Permanent: the key id is another account's.
            Temporary: the cloud doesn't answer, or can't write.
        """
        await self._ask("ensure_admin", user=user, access_key=access_key, secret_key=secret_key, account=account)

    async def forget_key(self, user: str, access_key: str, account: str) -> None:
        """Delete a key of the user, unless it is gone already.

        Raises:
            Temporary: the cloud doesn't answer, or can't write.
        """
        await self._ask("forget_key", user=user, access_key=access_key, account=account)
        self._cache.clear()

    async def _ask(self, verb: str, **members: Any) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(self._timeout):
                line = await self._exchange(json.dumps({"verb": verb, **members}).encode() + b"\n")
            answer: Mapping[str, Any] = json.loads(line)
        except (OSError, TimeoutError, ValueError) as error:
            raise Temporary(
                f"The embedded cloud doesn't answer at {self._path} ({error or type(error).__name__}). "
                "`aerodrome status` tells whether it runs."
            ) from error
        if answer.get("ok"):
            return answer
        if answer.get("error") in _PERMANENT:
            raise Permanent(str(answer["message"]))
        raise Temporary(str(answer.get("message", f"The embedded cloud refused {verb}.")))

    async def _exchange(self, line: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=_LINE_LIMIT)
        try:
            writer.write(line)
            await writer.drain()
            return await reader.readline()
        finally:
            writer.close()
            await writer.wait_closed()


class AwsRoleSource:
    """Execution roles of real AWS: `sts:AssumeRole` with credentials of the control plane's own (`RoleSource`).

    To AWS we are no service but that identity, the installation's principal: trust policies must name it. In place of
    `aws:SourceArn`, which services alone can give, they may ask for the environment's ARN as `sts:ExternalId`.
    """

    def __init__(self, clients: AwsClients, credentials: Credentials, region: str) -> None:
        self._sts = clients.client("sts", region, credentials)
        self._own_arn: str | None = None

    async def confirm(self, role_arn: str, *, source_arn: str | None = None) -> ExecutionRole:
        """Nothing: STS alone can tell, and does when the role is assumed. Who may assume a role needn't see it."""
        return ExecutionRole("", None)

    async def assume_role(
        self, role_arn: str, session_name: str, duration: int = 3600, *, source_arn: str | None = None
    ) -> Credentials:
        """Raises:
        Permanent: STS refuses: no such role, or it doesn't trust us.
        Temporary: STS doesn't answer.
        """
        asked = {"RoleArn": role_arn, "RoleSessionName": session_name, "DurationSeconds": duration}
        if source_arn is not None:
            asked["ExternalId"] = source_arn
        try:
            answer = await asyncio.to_thread(self._sts.assume_role, **asked)
        except ClientError as error:
            problem = f"STS refuses the execution role {role_arn}: {error}"
            if error.response.get("Error", {}).get("Code") in _REFUSALS:
                raise Permanent(f"{problem}. {await self._advice(source_arn)}") from error
            raise Temporary(problem) from error
        except BotoCoreError as error:
            raise Temporary(f"STS doesn't answer for the execution role {role_arn}: {error}") from error
        found = answer["Credentials"]
        return Credentials(
            access_key_id=found["AccessKeyId"],
            secret_access_key=found["SecretAccessKey"],
            session_token=found["SessionToken"],
            expires_at=found["Expiration"],
        )

    async def _advice(self, source_arn: str | None) -> str:
        """What to add to the role's trust policy."""
        if self._own_arn is None:
            with suppress(ClientError, BotoCoreError):
                self._own_arn = str((await asyncio.to_thread(self._sts.get_caller_identity))["Arn"])
        principal = self._own_arn or "the ARN of whom AERODROME_AWS_ACCESS_KEY_ID belongs to"
        statement: dict[str, Any] = {
            "Effect": "Allow",
            "Principal": {"AWS": principal},
            "Action": "sts:AssumeRole",
        }
        if source_arn is not None:
            statement["Condition"] = {"StringEquals": {"sts:ExternalId": source_arn}}
        return f"If the role is there, add to its trust policy: {json.dumps(statement)}"


def _credentials(found: Mapping[str, Any]) -> Credentials:
    return Credentials(
        access_key_id=found["key_id"],
        secret_access_key=found["secret"],
        session_token=found["session_token"],
        expires_at=datetime.fromtimestamp(found["expires_at"], UTC),
    )


def _access_key(found: Mapping[str, Any]) -> AccessKey:
    principal, expires = found["principal"], found["expires_at"]
    session_policies = found["session_policies"]
    expires_at = None if expires is None else datetime.fromtimestamp(expires, UTC)
    reference = PrincipalReference(
        access_key_id=found["key_id"],
        arn=principal["arn"],
        user_id=principal["user_id"],
        issuer_arn=found["issuer_arn"],
        issuer_id=found["issuer_id"],
        expires_at=expires_at,
        session_policies=None if session_policies is None else tuple(session_policies),
        session_tags=found["session_tags"],
    )
    return AccessKey(
        key_id=found["key_id"],
        secret=found["secret"],
        session_token=found["session_token"],
        expires_at=expires_at,
        active=found["active"],
        principal=_principal(principal, reference),
    )


def _principal(found: Mapping[str, Any], reference: PrincipalReference | None) -> Principal:
    return Principal(
        arn=found["arn"],
        account=found["account"],
        partition=found["partition"],
        user_id=found["user_id"],
        policies=tuple(found["policies"]),
        boundary=found["boundary"],
        session_policies=reference.session_policies if reference else None,
        tags={**found["tags"], **(reference.session_tags if reference else {})},
        reference=reference,
    )

"""An environment's part of the broker: one Valkey user that reaches the keys and channels of its prefix alone."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.exceptions import RedisError

from aerodrome.domain.airflow_config import broker_acl
from aerodrome.domain.plan import broker_prefix, broker_user
from aerodrome.errors import Temporary


class ValkeyBroker:
    """`url` is the administrator's."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def ensure(self, environment_id: str, password: str) -> None:
        """Make the user, or set it right; it survives a restart of Valkey.

        Raises:
            Temporary: Valkey is away.
        """
        rules = broker_acl(broker_user(environment_id), password, broker_prefix(environment_id))
        await self._run([("ACL", "SETUSER", *rules), ("ACL", "SAVE")])

    async def drop(self, environment_id: str) -> None:
        """Remove the user and everything under its prefix. Absent is success."""
        await self._run([("ACL", "DELUSER", broker_user(environment_id)), ("ACL", "SAVE")])
        try:
            async with Redis.from_url(self._url) as client:
                async for key in client.scan_iter(match=f"{broker_prefix(environment_id)}*", count=1000):
                    await client.unlink(key)
        except (RedisError, OSError) as error:
            raise Temporary(f"Valkey is away: {error}", retry_after=1.0) from error

    async def _run(self, commands: list[tuple[str, ...]]) -> None:
        try:
            async with Redis.from_url(self._url) as client:
                for command in commands:
                    await client.execute_command(*command)  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as error:
            raise Temporary(f"Valkey is away: {error}", retry_after=1.0) from error

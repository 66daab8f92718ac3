"""The append-only history of every environment: what happened, when, why, by whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from aerodrome.domain.environment import EnvironmentKey
from aerodrome.store.database import Pool, transaction


@dataclass(frozen=True, slots=True)
class Event:
    """`type` is one of a small set (docs/reference/events.md); `message` is for people, `data` for programs."""

    id: int
    at: datetime
    type: str
    message: str
    actor: str | None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to be written with the change that it tells of, in one transaction."""

    type: str
    message: str
    actor: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    async def write(self, connection: AsyncConnection[DictRow], environment_id: str, key: EnvironmentKey) -> None:
        await connection.execute(
            "INSERT INTO events (environment_id, arn, type, message, actor, data) VALUES (%s,%s,%s,%s,%s,%s)",
            (environment_id, key.arn, self.type, self.message, self.actor, Jsonb(dict(self.data))),
        )


class EventStore:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def append(
        self,
        environment_id: str,
        key: EnvironmentKey,
        type_: str,
        message: str,
        *,
        actor: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        async with transaction(self._pool) as connection:
            await NewEvent(type_, message, actor, data or {}).write(connection, environment_id, key)

    async def prune(self, keep: int = 5000) -> None:
        """Forget all but the newest `keep` events of each name."""
        async with transaction(self._pool) as connection:
            await connection.execute(
                "DELETE FROM events USING (SELECT id, row_number() OVER (PARTITION BY arn ORDER BY id DESC) AS place"
                " FROM events) AS placed WHERE events.id = placed.id AND placed.place > %s",
                (keep,),
            )

    async def after(self, key: EnvironmentKey, after: int, limit: int = 500) -> list[Event]:
        """Events of every environment that ever bore this name, oldest first, those after the id `after`."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute(
                "SELECT id, at, type, message, actor, data FROM events WHERE arn = %s AND id > %s ORDER BY id LIMIT %s",
                (key.arn, after, limit),
            )
            return [Event(**row) for row in await rows.fetchall()]

    async def last_id(self, key: EnvironmentKey) -> int:
        """The id of the newest event of that name; 0 when there is none."""
        async with transaction(self._pool) as connection:
            rows = await connection.execute("SELECT max(id) AS id FROM events WHERE arn = %s", (key.arn,))
            row = await rows.fetchone()
            return int(row["id"] or 0) if row else 0

"""What security groups let in, as EC2 last told of them: by environment id."""

from __future__ import annotations

from psycopg.types.json import Jsonb

from aerodrome.domain.ingress import Ingress, Rule
from aerodrome.store.database import Pool, transaction


class IngressStore:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self) -> dict[str, Ingress]:
        async with transaction(self._pool) as connection:
            rows = await connection.execute("SELECT environment_id, groups, missing, rules FROM ingress")
            return {
                row["environment_id"]: Ingress(
                    tuple(row["groups"]), tuple(map(Rule.from_json, row["rules"])), tuple(row["missing"])
                )
                for row in await rows.fetchall()
            }

    async def put(self, environment_id: str, ingress: Ingress) -> None:
        """Keep it in place of what was known before."""
        async with transaction(self._pool) as connection:
            await connection.execute(
                "INSERT INTO ingress (environment_id, groups, missing, rules) VALUES (%s, %s, %s, %s)"
                " ON CONFLICT (environment_id) DO UPDATE SET groups = excluded.groups, missing = excluded.missing,"
                " rules = excluded.rules, read_at = now()",
                (
                    environment_id,
                    list(ingress.groups),
                    list(ingress.missing),
                    Jsonb([rule.to_json() for rule in ingress.rules]),
                ),
            )

    async def drop(self, environment_id: str) -> None:
        """Absent is success."""
        async with transaction(self._pool) as connection:
            await connection.execute("DELETE FROM ingress WHERE environment_id = %s", (environment_id,))

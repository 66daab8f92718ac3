"""Which schedulers, triggerers and DAG processors beat, from Airflow's own table of jobs.

The health document speaks of the latest one of a kind: while an old one is still there it says nothing of the new.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import psycopg

from aerodrome.domain.component import ComponentKind
from aerodrome.errors import Temporary

_JOB_TYPES = {
    ComponentKind.SCHEDULER: "SchedulerJob",
    ComponentKind.TRIGGERER: "TriggererJob",
    ComponentKind.DAG_PROCESSOR: "DagProcessorJob",
}  # of both majors
# A heartbeat counts for 30 seconds, as in Airflow's own health checks.
_QUERY = (
    b"SELECT count(*) FROM job WHERE state = 'running' AND job_type = %s AND start_date >= %s"
    b" AND latest_heartbeat > now() - interval '30 seconds'"
)


async def beating(database_url: str, since: Mapping[ComponentKind, datetime]) -> dict[ComponentKind, int]:
    """How many of each kind that were started at that time or later beat now.

    Raises:
        Temporary: the metadata database can't be asked.
    """
    found: dict[ComponentKind, int] = {}
    try:
        async with await psycopg.AsyncConnection.connect(
            database_url, autocommit=True, connect_timeout=5
        ) as connection:
            for kind, started in since.items():
                rows = await connection.execute(_QUERY, (_JOB_TYPES[kind], started))
                row = await rows.fetchone()
                found[kind] = int(row[0]) if row else 0
    except psycopg.Error as error:
        raise Temporary(f"The metadata database can't be asked who beats: {type(error).__name__}") from error
    return found

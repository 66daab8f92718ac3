"""Are the Celery workers there? Asked over the broker, the way Celery itself does."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from aerodrome.errors import Temporary


async def ping_workers(broker_url: str, prefix: str, nodes: Collection[str], timeout: float = 2.0) -> set[str]:
    """Those of the Celery `nodes` (`versions.worker_node`) that answer within `timeout` seconds.

    Returns as soon as all have answered. `prefix` is the environment's key prefix; the URL may be the environment's
    own or the administrator's, with the environment's database number.

    Raises:
        Temporary: the broker can't be reached.
    """
    if not nodes:
        return set()
    return await asyncio.to_thread(_ping, broker_url, prefix, sorted(nodes), timeout)


def _ping(broker_url: str, prefix: str, nodes: list[str], timeout: float) -> set[str]:
    options = {
        "global_keyprefix": prefix,
        "socket_connect_timeout": timeout,
        "socket_timeout": timeout + 5,
        "max_retries": 0,
    }
    app = Celery("aerodrome", broker=broker_url, broker_transport_options=options, set_as_current=False)
    app.conf.update(broker_connection_retry=False, control_queue_ttl=60.0, accept_content=["json"])
    try:
        with app.connection_for_write() as connection:
            answers: list[dict[str, Any]] | None = app.control.broadcast(
                "ping", destination=nodes, reply=True, timeout=timeout, limit=len(nodes), connection=connection
            )
    except (OperationalError, OSError) as error:
        raise Temporary(f"The workers can't be asked how they are, the broker doesn't answer: {error}", 2.0) from error
    finally:
        app.close()
    return {node for answer in answers or [] for node in answer if node in nodes}

"""Options of Celery: how many tasks a worker takes, and what of Celery's own settings stays ours (mwaa-spec 3, 6)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aerodrome.domain.classes import EnvironmentClass

# Celery's own names of what is ours: "MWAA's broker keys win" over `celery.extra_celery_config`.
_OURS = frozenset(
    {
        "broker_read_url",
        "broker_transport",
        "broker_transport_options",
        "broker_url",
        "broker_write_url",
        "result_backend",
        "task_default_exchange",
        "task_default_queue",
        "worker_enable_remote_control",
    }
)


def defaults(size: EnvironmentClass, chosen: Mapping[str, str]) -> dict[str, str]:
    """Tasks per worker, where a user didn't say. `celery.worker_autoscale` is MWAA's option for it (`max,min`)."""
    usual = chosen.get("celery.worker_concurrency", str(size.tasks_per_worker))
    return {"celery.worker_autoscale": f"{usual},{usual}", "celery.worker_concurrency": usual}


def settled(chosen: Mapping[str, str]) -> dict[str, str]:
    """What takes the place of a user's options: the autoscale says how many, the broker stays ours."""
    found = {}
    if autoscale := chosen.get("celery.worker_autoscale"):
        found["celery.worker_concurrency"] = autoscale.partition(",")[0].strip()
    if extra := chosen.get("celery.extra_celery_config"):
        found["celery.extra_celery_config"] = _without_ours(extra)
    return found


def _without_ours(extra: str) -> str:
    try:
        settings = json.loads(extra)
    except (ValueError, RecursionError):
        return extra  # Airflow says what is wrong with it
    if not isinstance(settings, dict) or settings.keys().isdisjoint(_OURS):
        return extra
    return json.dumps({name: value for name, value in settings.items() if name not in _OURS})

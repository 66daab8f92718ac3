"""What may not be changed by a requirements.txt, and what isn't unless it says so (mwaa-spec 5.1)."""

from __future__ import annotations

import re

from packaging.utils import canonicalize_name

from aerodrome.domain.versions import AirflowVersion
from aerodrome.runtimes.lock import requirements as base_requirements

_PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)(?P<marker>\s*;[^\\\n]*)?", re.MULTILINE
)
_OFFICIAL = re.compile(
    r"https?://raw\.githubusercontent\.com/apache/airflow/(refs/(heads|tags)/)?constraints-(?P<version>[0-9.]+)/"
    r"constraints(-no-providers|-source-providers)?-[0-9.]+\.txt"
)

# MWAA's essential pins: Airflow, its web framework, Celery and the database.
_MWAA = (
    "apache-airflow", "apache-airflow-core", "apache-airflow-task-sdk", "billiard", "celery", "flask",
    "flask-appbuilder", "flask-babel", "flask-caching", "flask-jwt-extended", "flask-limiter", "flask-login",
    "flask-session", "flask-sqlalchemy", "flask-wtf", "gevent", "greenlet", "gunicorn", "kombu", "sqlalchemy",
    "sqlalchemy-jsonfield", "sqlalchemy-utils", "statsd", "vine", "watchtower",
)  # fmt: skip
# And ours: what Aerodrome's own part inside the runtime is written for, and the drivers of our broker and database.
_OURS = (
    "apache-airflow-providers-celery", "apache-airflow-providers-fab", "cadwyn", "fastapi", "psycopg2-binary", "redis",
    "starlette", "uvicorn",
)  # fmt: skip
ESSENTIAL = frozenset((*_MWAA, *_OURS))


def pins(lock: str) -> dict[str, str]:
    """Package -> its pin as a line of constraints, from the text of a lock file."""
    return {
        canonicalize_name(found["name"]): f"{found['name']}=={found['version']}{(found['marker'] or '').rstrip()}"
        for found in _PIN.finditer(lock)
    }


def constraints(lock: str, own: tuple[str, ...], *, has_own: bool) -> list[str]:
    """What requirements are resolved under: the essential pins, and the user's own constraints or else all pins."""
    shipped = pins(lock)
    if not has_own:
        return sorted(shipped.values())
    return [*own, *sorted(pin for name, pin in shipped.items() if name in ESSENTIAL)]


def base_lines(version: AirflowVersion) -> list[str]:
    """What the runtime has before anything is asked of it: resolved together with the user's requirements, or nothing
    would notice that they break it."""
    return base_requirements(version).splitlines()


def is_official(url: str, version: str) -> bool:
    """Whether the URL is that of Airflow's own constraints for that version."""
    match = _OFFICIAL.fullmatch(url)
    return match is not None and match["version"] == version

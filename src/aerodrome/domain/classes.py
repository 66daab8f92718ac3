"""The environment classes and what each allows (mwaa-spec 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from aerodrome.errors import Permanent


@dataclass(frozen=True, slots=True)
class EnvironmentClass:
    """Sizes are MWAA's own: cpu in vCPU, memory in GB (1024**3 bytes)."""

    name: str
    dag_capacity: int
    tasks_per_worker: int
    triggers_per_triggerer: int
    web_cpu: float
    web_memory: float
    worker_cpu: float
    worker_memory: float
    scheduler_cpu: float
    scheduler_memory: float
    min_workers: int = 1
    max_workers: int = 25
    min_schedulers: int = 2  # MWAA's own minimum; outside strict mode one is accepted everywhere
    max_schedulers: int = 5
    min_web_servers: int = 2  # likewise
    max_web_servers: int = 5

    @property
    def autoscales(self) -> bool:
        return self.max_workers > 1

    @property
    def parsing_processes(self) -> int:
        """Processes that parse DAG files: at most 2 x vCPU - 1 of the scheduler (mwaa-spec 3)."""
        return max(1, int(2 * self.scheduler_cpu) - 1)


def _micro() -> EnvironmentClass:
    """Exactly one of everything, no autoscaling; the triggerer's capacity is not published: small's is taken."""
    return EnvironmentClass(
        *("mw1.micro", 25, 3, 60),
        *(1, 3, 1, 3, 1, 3),
        max_workers=1,
        min_schedulers=1,
        max_schedulers=1,
        min_web_servers=1,
        max_web_servers=1,
    )


CLASSES: Mapping[str, EnvironmentClass] = MappingProxyType(
    {
        known.name: known
        for known in (
            _micro(),
            EnvironmentClass("mw1.small", 50, 5, 60, 1, 2, 1, 2, 1, 2),
            EnvironmentClass("mw1.medium", 250, 10, 125, 1, 2, 2, 4, 2, 4),
            EnvironmentClass("mw1.large", 1000, 20, 250, 2, 4, 4, 8, 4, 8),
            EnvironmentClass("mw1.xlarge", 2000, 40, 500, 4, 12, 8, 24, 8, 24),
            EnvironmentClass("mw1.2xlarge", 4000, 80, 1000, 8, 24, 16, 48, 16, 48),
        )
    }
)
DEFAULT_CLASS = "mw1.small"


def exists(name: str) -> bool:
    return name in CLASSES


def get(name: str) -> EnvironmentClass:
    """The class of that name.

    Raises:
        Permanent: there is no such class.
    """
    try:
        return CLASSES[name]
    except KeyError:
        raise Permanent(f"There is no environment class {name!r}; choose one of {', '.join(CLASSES)}.") from None

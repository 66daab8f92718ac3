"""What the house has to know about a version of Airflow. The catalogue itself is `versions`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from aerodrome.domain.component import ComponentKind

# The launcher inside the runtime. `-P`: the working directory is no place to import from.
PYTHON = ("python", "-P", "-m")
HEALTH_KINDS = MappingProxyType(
    {
        "scheduler": ComponentKind.SCHEDULER,
        "dag_processor": ComponentKind.DAG_PROCESSOR,
        "triggerer": ComponentKind.TRIGGERER,
    }
)  # of both majors' health documents
LONGEST_TASK = 43200  # seconds, MWAA's: what a worker gets to end in


@dataclass(frozen=True, slots=True)
class ComponentTemplate:
    """How one kind of component is run; the words are those of `domain.component.Component`."""

    kind: ComponentKind
    command: tuple[str, ...]
    ports: tuple[str, ...] = ()
    health_path: str | None = None
    grace: int = 60  # seconds
    shared_port: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowVersion:
    """All that differs from version to version."""

    version: str
    pythons: tuple[str, ...]  # those with a lock; the first one that other users can run is taken
    mwaa_python: str
    constraints_date: str  # of the official constraints: what the lock resolves by
    released: str  # when Airflow's own distributions reached the package registry (ISO date)
    extras: tuple[str, ...]  # MWAA's provider set and what its components need
    distributions: tuple[str, ...]  # released together with the version, later than `constraints_date`
    sources: tuple[str, ...] = ()  # distributions without a wheel: the only ones that may be built here
    mwaa_providers: Mapping[str, str]  # provider -> its version in MWAA's image: what a lock is compared with
    components: Mapping[ComponentKind, ComponentTemplate]
    health_path: str
    health_kinds: Mapping[str, ComponentKind]  # key of the health document -> the component it speaks of
    api_prefix: str
    login_path: str
    cookie: str  # that Airflow's own login sets; real clients read this name
    bearer: bool  # the cookie's value also works as `Authorization: Bearer`
    sso_prefix: str  # of the console's sign-in pages (mwaa-spec 7.2)
    migrate: tuple[str, ...]  # argv that makes an empty database ready, and an older one current
    driver: str  # SQLAlchemy's dialect and driver for the metadata database
    connections_per_task: int  # to the metadata database, at most
    names: Mapping[str, str]  # options whose names differ between the majors; a missing one isn't there
    old_names: Mapping[str, str] = field(default_factory=dict)  # option that we set -> its name in earlier versions
    places: Mapping[str, str] = field(default_factory=dict)  # options that name directories of the environment
    execution_api: str | None = None  # path of the API that tasks talk to instead of the database
    essential: Mapping[str, str] = field(default_factory=dict)  # options that only this line has, never overridden
    opinionated: Mapping[str, str] = field(default_factory=dict)  # likewise, a user may override them

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])


def airflow_command(*arguments: str) -> tuple[str, ...]:
    """The command line of `airflow ARGUMENTS` in a runtime."""
    return (*PYTHON, "aerodrome_airflow", *arguments)


def warm_command() -> tuple[str, ...]:
    """Of the process that has Airflow's command line ready, in a runtime."""
    return (*PYTHON, "aerodrome_airflow.warm")


def worker_node(component: str) -> str:
    """The Celery node name of the worker component of that name."""
    return f"celery@{component}"

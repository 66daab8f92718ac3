"""What a backend is asked to run: plain data that suits processes and pods alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class ComponentKind(StrEnum):
    """Airflow's own words for its parts; a job runs once and ends."""

    SCHEDULER = "scheduler"
    DAG_PROCESSOR = "dag-processor"
    TRIGGERER = "triggerer"
    WORKER = "worker"
    WEB_SERVER = "webserver"
    JOB = "job"


class Phase(StrEnum):
    """Where a component is in its life, as its backend sees it."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"  # asked to stop, finishing its work
    BACKOFF = "backoff"  # ended by itself, will be started again
    FAILED = "failed"  # ended by itself too often, or a job that returned non-zero
    SUCCEEDED = "succeeded"  # a job that returned zero


OPTIONS_KEY = "AERODROME_OPTIONS_KEY"  # url-safe base64 of 32 bytes


@dataclass(frozen=True, slots=True)
class Component:
    """One thing to run.

    `command` and `templates` hold `str.format` placeholders that the backend fills in, since only it knows places:
    `{name}` (this component), `{home}` (AIRFLOW_HOME), `{dags}`, `{logs}` (directories), `{plugins}` (the directory of
    all folders of plugins), `{programs}` (that of the runtime's programs), `{options}` (the file that holds `unread`, a
    JSON object, sealed under the key in `secrets[OPTIONS_KEY]`), `{port[NAME]}` (a port this component listens on),
    `{shared[SLOT]}` (host:port at which whoever is in that slot answers on its shared port, `webserver-1` say).
    Literal braces are doubled. `variables`, `secrets`, `unread`: literal.
    """

    name: str  # deterministic, carries the spec hash: "worker-1-1f3a"; a DNS label of at most 40 characters
    slot: str  # the name without the hash: "worker-1"
    kind: ComponentKind
    runtime: str  # key of the runtime it runs in
    command: tuple[str, ...]  # argv; the first word is looked up in the runtime
    variables: Mapping[str, str] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # variables that never reach argv or a log
    # Variables that DAGs may ask for and the component itself doesn't read: no part of its name, since they may change
    # while it runs (`Backend.tell`). Secret like the others.
    unread: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[str, ...] = ()  # its own: another component of the slot, its successor say, has others
    shared_port: str | None = None  # the slot's: the component and its successor listen there side by side
    health_path: str | None = None  # answered with 200 on the first port when healthy
    grace: int = 60  # seconds between the request to stop and force
    confined: bool = False  # it sees its environment's files and processes alone; needs a runtime


@dataclass(frozen=True, slots=True)
class ComponentState:
    """What a backend sees of a component now."""

    name: str
    phase: Phase
    addresses: Mapping[str, str] = field(default_factory=dict)  # port name -> "host:port"
    detail: str = ""  # one line for a person
    exit_code: int | None = None
    since: datetime | None = None  # when its process was started last


@dataclass(frozen=True, slots=True)
class Output:
    """What a one-off command printed."""

    exit_code: int
    stdout: bytes
    stderr: bytes

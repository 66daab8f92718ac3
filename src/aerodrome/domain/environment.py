"""What an environment is: its identity, what was asked for, what is there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

_ARN = re.compile(r"arn:(aws(?:-[a-z]+)*):airflow:([a-z0-9-]+):(\d{12}):environment/([a-zA-Z][0-9a-zA-Z\-_]*)")


class Status(StrEnum):
    """`Environment.Status` of the API (mwaa-spec 2.1)."""

    CREATING = "CREATING"
    PENDING = "PENDING"
    CREATE_FAILED = "CREATE_FAILED"
    AVAILABLE = "AVAILABLE"
    UPDATING = "UPDATING"
    CREATING_SNAPSHOT = "CREATING_SNAPSHOT"
    ROLLING_BACK = "ROLLING_BACK"
    UPDATE_FAILED = "UPDATE_FAILED"
    UNAVAILABLE = "UNAVAILABLE"
    MAINTENANCE = "MAINTENANCE"
    DELETING = "DELETING"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True, order=True)
class EnvironmentKey:
    """The name of an environment: the same name in two regions or accounts is two environments."""

    partition: str
    account: str
    region: str
    name: str

    @property
    def arn(self) -> str:
        return f"arn:{self.partition}:airflow:{self.region}:{self.account}:environment/{self.name}"

    def role_arn(self, role: str) -> str:
        """The resource that CreateWebLoginToken and InvokeRestApi are authorised on (mwaa-spec 7.3)."""
        return f"arn:{self.partition}:airflow:{self.region}:{self.account}:role/{self.name}/{role}"

    @classmethod
    def from_arn(cls, arn: str) -> EnvironmentKey | None:
        match = _ARN.fullmatch(arn)
        return cls(match[1], match[3], match[2], match[4]) if match else None


@dataclass(frozen=True, slots=True)
class LastUpdate:
    """`Environment.LastUpdate` (mwaa-spec 1.4). `status` is SUCCESS, PENDING or FAILED."""

    status: str
    created_at: datetime
    error_code: str | None = None
    error_message: str | None = None
    source: str | None = None
    strategy: str | None = None


@dataclass(frozen=True, slots=True)
class Fallback:
    """What an update that fails goes back to, besides `Environment.applied`; the members are `Environment`'s."""

    runtime: str | None
    revision: int


@dataclass(frozen=True, slots=True)
class Environment:
    """One row. `desired` and `applied` are CreateEnvironment's members in AWS spelling, defaults filled in, no tags.

    `desired` is what the API wrote, `applied` what last converged (None: nothing yet). `generation` grows with every
    write; a write names the generation it read.
    """

    id: str  # 12 lower-case hex digits, new with every create: names everything that belongs to it
    key: EnvironmentKey
    status: Status
    desired: Mapping[str, Any]
    applied: Mapping[str, Any] | None
    last_update: LastUpdate | None
    host: str  # WebserverUrl: host name, with ":port" when the port is not 443
    created_at: datetime
    generation: int
    tags: Mapping[str, str] = field(default_factory=dict)  # change at once, part of neither `desired` nor `applied`
    runtime: str | None = None  # key of the runtime it runs in, whatever a newer release would choose; None: not yet
    revision: int = 0  # part of every component's name: with another one all are new, whatever they are made of
    fallback: Fallback | None = None  # while an update can be rolled back
    # What was made of its objects, by recipe (`domain.products`); holds secrets.
    made: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    # Why what lies sealed of it can't be read, and so isn't here: its key of KMS can't be used. "": it is here.
    closed: str = ""

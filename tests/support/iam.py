"""One rule of IAM's reference: who asks for what under which policies, and whether it is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aerodrome.domain.policy import decide
from aerodrome.domain.principal import Principal

ACCOUNT = "123456789012"
GET, DELETE, LIST, LOGIN = (
    f"airflow:{name}" for name in ("GetEnvironment", "DeleteEnvironment", "ListEnvironments", "CreateWebLoginToken")
)
SALES, HR = (f"arn:aws:airflow:eu-west-1:{ACCOUNT}:environment/{name}" for name in ("sales", "hr"))
VIEWER, ADMIN = (f"arn:aws:airflow:eu-west-1:{ACCOUNT}:role/sales/{name}" for name in ("Viewer", "Admin"))
ROLE = f"arn:aws:iam::{ACCOUNT}:role/exec"
USER = f"arn:aws:iam::{ACCOUNT}:user/team/ann"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/deploy/monday"
FEDERATED = f"arn:aws:sts::{ACCOUNT}:federated-user/bob"

Policy = Mapping[str, Any]


def allow(action: object = GET, resource: object = SALES, condition: object = None, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"Effect": "Allow", "Action": action, "Resource": resource, **more}
    found |= {} if condition is None else {"Condition": condition}
    return {name: value for name, value in found.items() if value is not ...}


def deny(action: object = GET, resource: object = SALES, condition: object = None, **more: Any) -> dict[str, Any]:
    return {**allow(action, resource, condition, **more), "Effect": "Deny"}


def policy(*statements: Mapping[str, Any], version: str | None = "2012-10-17") -> Policy:
    return {"Statement": list(statements), **({"Version": version} if version else {})}


@dataclass(frozen=True)
class Case:
    # Where nothing else is said, the user ann of the path team asks to GetEnvironment sales.
    name: str
    identity: Sequence[Policy]
    allowed: bool
    action: str = GET
    resource: str = SALES
    context: Mapping[str, object] = field(default_factory=dict)
    boundary: Policy | None = None
    session: tuple[Policy, ...] | None = None
    arn: str = USER
    tags: Mapping[str, str] = field(default_factory=dict)


def given(name: str, *statements: Mapping[str, Any], allowed: bool, **more: Any) -> Case:
    """One identity policy of these statements."""
    return Case(name, [policy(*statements)], allowed, **more)


def when(name: str, condition: object, context: Mapping[str, object], *, allowed: bool, **more: Any) -> Case:
    """An Allow under that condition."""
    return given(name, allow(condition=condition), allowed=allowed, context=context, **more)


def is_allowed(case: Case) -> bool:
    who = Principal(
        case.arn,
        ACCOUNT,
        "aws",
        "AIDA1" if case.arn == USER else "AROA1:monday",
        tuple(case.identity),
        boundary=case.boundary,
        session_policies=case.session,
        tags=case.tags,
    )
    return decide(who, case.action, case.resource, case.context).allowed

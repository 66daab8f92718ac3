"""Whether an execution role lets the service assume it for an environment, and what its trust policy lacks.

MWAA assumes a role as two services; a trust policy may say for which environments (mwaa-spec 8). As everywhere, what
can't be read never allows and still denies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from aerodrome.domain.policy import evaluate

SERVICES = ("airflow.amazonaws.com", "airflow-env.amazonaws.com")
_ACTION = "sts:AssumeRole"
_EVERYBODY = "*"


def objection(trust: object, role_arn: str, environment_arn: str, now: datetime) -> str | None:
    """Why the role can't be assumed for that environment, and what to do; None when both services may.

    `trust` is the role's trust policy, parsed, its ARNs of the environment's partition; `now` is aware.
    """
    decisions = {service: _decide(trust, service, role_arn, environment_arn, now) for service in SERVICES}
    lacking = [service for service, (allowed, _) in decisions.items() if not allowed]
    if not lacking:
        return None
    names = " and ".join(lacking)
    told = f"The role {role_arn} doesn't trust {names} for {environment_arn}."
    if any(denied for _, denied in decisions.values()):
        return f"{told} A Deny in its trust policy says so: take that out, or let it leave {names} alone."
    return f"{told} Add to its trust policy: {json.dumps(statement(lacking, environment_arn))}"


def statement(services: list[str], environment_arn: str) -> dict[str, Any]:
    """What lets these services assume a role, for that environment alone."""
    return {
        "Effect": "Allow",
        "Principal": {"Service": services},
        "Action": _ACTION,
        "Condition": {
            "StringEquals": {"aws:SourceAccount": environment_arn.split(":")[4]},
            "ArnLike": {"aws:SourceArn": environment_arn},
        },
    }


def _decide(trust: object, service: str, role_arn: str, environment_arn: str, now: datetime) -> tuple[bool, bool]:
    """Whether the service may, and whether a Deny is why it may not."""
    _, _, _, region, account, _ = environment_arn.split(":", 5)
    keys: dict[str, object] = {
        "aws:SourceArn": environment_arn,
        "aws:SourceAccount": account,
        "aws:PrincipalServiceName": service,
        "aws:PrincipalServiceNamesList": [service],
        "aws:PrincipalIsAWSService": True,
        "aws:ViaAWSService": False,
        "aws:RequestedRegion": region,
        "aws:CurrentTime": now,
        "aws:EpochTime": int(now.timestamp()),
    }
    decided = evaluate([_about(trust, service)], _ACTION, role_arn, keys)
    return decided.allowed, "with an explicit deny" in decided.reason


def _about(trust: object, service: str) -> dict[str, Any]:
    """The trust policy's statements that speak of the service, as an identity policy would have them."""
    policy = trust if isinstance(trust, Mapping) else {}
    rest = {name: value for name, value in policy.items() if name != "Statement"}
    return {**rest, "Statement": list(_statements(policy.get("Statement"), service))}


def _statements(given: object, service: str) -> Iterator[dict[str, Any]]:
    for each in given if isinstance(given, list) else [given]:
        if not isinstance(each, Mapping):
            continue
        spoken_of = _speaks_of(each, service)
        if spoken_of:
            yield {**{name: value for name, value in each.items() if name != "Principal"}, "Resource": "*"}
        elif spoken_of is None:
            yield {**each, "Principal": None, "Resource": "*"}  # what makes it one that can't be read


def _speaks_of(given: Mapping[str, Any], service: str) -> bool | None:
    """Whether its principals are the service or everybody; None when they can't be read, as those of NotPrincipal."""
    principal = given.get("Principal")
    if "NotPrincipal" in given or not isinstance(principal, str | Mapping):
        return None
    if isinstance(principal, str):
        return True if principal == _EVERYBODY else None
    found: bool | None = False
    for kind, names in principal.items():
        for name in names if isinstance(names, list) else [names]:
            if not isinstance(name, str) or (kind == "Service" and name == _EVERYBODY):
                found = found or None
            elif name == {"Service": service, "AWS": _EVERYBODY}.get(kind):
                found = True
    return found

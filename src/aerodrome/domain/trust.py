"""Whether a role's trust policy, and the caller's own policies, let the caller assume the role.

In one account, as IAM's reference has it ("Cross account resource access", "Policy evaluation for requests within a
single account"): a trust policy that names the caller suffices; one that names the account leaves it to the caller's
own policies. An explicit deny on either side wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aerodrome.domain.policy import decide, evaluate, principal_context
from aerodrome.domain.principal import Principal
from aerodrome.errors import ApiError

_ACTION = "sts:AssumeRole"


def authorise_assume_role(
    caller: Principal, role_arn: str, trust: Mapping[str, Any], context: Mapping[str, object]
) -> None:
    """Let pass, or raise.

    `context` has condition keys of the request; those of the caller are added (`aws:PrincipalTag/...`).

    Raises:
        ApiError: `AccessDenied`, 403, which doesn't tell whether the role is there.
    """
    keys = {**context, **principal_context(caller)}
    names = {caller.arn, str(keys["aws:PrincipalArn"])}  # of a session, its role's too
    account = {caller.account, f"arn:{caller.partition}:iam::{caller.account}:root"}
    known = evaluate([_statements_for(trust, names | account | {"*"})], _ACTION, role_arn, keys)
    own = decide(caller, _ACTION, role_arn, context)
    # What limits a session limits what its role is trusted with: then its own policies must allow it.
    limited = caller.session_policies is not None or (caller.boundary is not None and len(names) > 1)
    by_name = (
        not limited and evaluate([_statements_for(trust, names | {"*"}, denies=False)], _ACTION, role_arn, keys).allowed
    )
    if not known.allowed or _denied(own.reason) or not (by_name or own.allowed):
        raise not_authorised(caller, role_arn)


def not_authorised(caller: Principal, role_arn: str) -> ApiError:
    message = f"User: {caller.arn} is not authorized to perform: {_ACTION} on resource: {role_arn}"
    return ApiError("AccessDenied", message, 403)


def _denied(reason: str) -> bool:
    return reason.startswith("with an explicit deny")


def _statements_for(trust: Mapping[str, Any], names: set[str], *, denies: bool = True) -> dict[str, Any]:
    """The statements that speak of one of the names, as an identity policy would have them."""
    statements = [
        {**{name: value for name, value in statement.items() if name != "Principal"}, "Resource": "*"}
        for statement in _listed(trust.get("Statement"))
        if (denies or statement.get("Effect") == "Allow") and names & set(_principals(statement))
    ]
    return {"Version": trust.get("Version", "2008-10-17"), "Statement": statements}


def _principals(statement: Mapping[str, Any]) -> Iterator[str]:
    principal = statement.get("Principal")
    for name in _listed(principal.get("AWS") if isinstance(principal, Mapping) else principal):
        if isinstance(name, str):
            yield name


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]

"""Policy documents as they are given: read, checked, and refused in IAM's words before anything is stored.

What `policy` can't tell at a request never allows; here it is told to whoever writes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from aerodrome.domain.conditions import holds
from aerodrome.domain.patterns import arn_matches
from aerodrome.errors import ApiError

_VERSIONS = ("2012-10-17", "2008-10-17")
_SID = re.compile(r"[A-Za-z0-9]*", re.ASCII)
_ACTION = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+", re.ASCII)
_PRINCIPAL = re.compile(r"\*|\d{12}|arn:aws[a-z-]*:(iam|sts)::\d{12}:(root|(user|role|assumed-role|federated-user)/.+)")
_KINDS = ("AWS", "Service", "Federated", "CanonicalUser")
_COMMON = {"Sid", "Effect", "Action", "NotAction", "Condition"}
_TRUST_ACTIONS = ("sts:", "*")


def identity_policy(text: str, limit: int | None = None) -> dict[str, Any]:
    """The document of a policy for users, groups, roles and sessions.

    `limit` is in characters, white space not counted.

    Raises:
        ApiError: `MalformedPolicyDocument`, 400, with IAM's words; `LimitExceeded`, 409.
    """
    document = _document(text)
    for statement in _statements(document, {*_COMMON, "Resource", "NotResource"}):
        if "Principal" in statement or "NotPrincipal" in statement:
            raise malformed("Policy document should not specify a principal.")
        _check_element(statement, "Resource", _check_resource)
    check_size(document, limit)
    return document


def trust_policy(text: str, limit: int | None = None) -> dict[str, Any]:
    """The document that says who may assume a role.

    Raises:
        ApiError: `MalformedPolicyDocument`, 400, with IAM's words; `LimitExceeded`, 409.
    """
    document = _document(text)
    for statement in _statements(document, {*_COMMON, "Principal"}):
        if "Resource" in statement or "NotResource" in statement:
            raise malformed("Has prohibited field Resource")
        if "Principal" not in statement:
            raise malformed("Missing required field Principal")
        _check_principal(statement["Principal"])
        for action in _texts(statement.get("Action", [])):
            if not action.lower().startswith(_TRUST_ACTIONS):
                raise malformed("AssumeRole policy may only specify STS AssumeRole actions.")
    check_size(document, limit)
    return document


def check_size(document: Mapping[str, Any], limit: int | None) -> None:
    """Raises ApiError: `LimitExceeded`."""
    if limit is not None and size(document) > limit:
        raise ApiError("LimitExceeded", f"Cannot exceed quota for PolicySize: {limit}", 409)


def size(document: Mapping[str, Any]) -> int:
    """Characters, white space between them not counted."""
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False))


def malformed(message: str) -> ApiError:
    return ApiError("MalformedPolicyDocument", message, 400)


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise malformed("The policy is not in the valid JSON format.") from None
    if not isinstance(document, dict):
        raise malformed("Syntax errors in policy.")
    if strange := sorted(document.keys() - {"Version", "Id", "Statement"}):
        raise malformed(f"Syntax errors in policy. Unknown field {strange[0]}")
    if document.get("Version", _VERSIONS[0]) not in _VERSIONS:
        raise malformed("Policy document must be version 2012-10-17 or greater.")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """One reader takes the first of two equal names, another the last: neither is what was meant."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _statements(document: Mapping[str, Any], known: set[str]) -> Iterable[Mapping[str, Any]]:
    given: Any = document.get("Statement")
    statements: list[Any] = given if isinstance(given, list) else [given]
    if not statements or not all(isinstance(statement, dict) for statement in statements):
        raise malformed("Syntax errors in policy. Missing required field Statement")
    sids = [statement["Sid"] for statement in statements if "Sid" in statement]
    if any(not isinstance(sid, str) or not _SID.fullmatch(sid) for sid in sids):
        raise malformed("Statement IDs (SID) must be alpha-numeric. Check that your input satisfies [A-Za-z0-9]*")
    if len(set(sids)) != len(sids):
        raise malformed("Statement IDs (SID) in a single policy must be unique.")
    for statement in statements:
        strange = sorted(statement.keys() - known - {"Principal", "NotPrincipal", "Resource", "NotResource"})
        if strange:
            raise malformed(f"Syntax errors in policy. Unknown field {strange[0]}")
        if "NotPrincipal" in statement and "Principal" in known:
            raise malformed("Has prohibited field NotPrincipal")
        if statement.get("Effect") not in ("Allow", "Deny"):
            raise malformed("Missing required field Effect")
        _check_element(statement, "Action", _check_action)
        _check_condition(statement)
        yield statement


def _check_element(statement: Mapping[str, Any], name: str, check: Any) -> None:
    negative = f"Not{name}"
    if name in statement and negative in statement:
        raise malformed(f"Statement can't have both {name} and {negative}.")
    if name not in statement and negative not in statement:
        raise malformed(f"Missing required field {name}")
    texts = _texts(statement.get(name, statement.get(negative)))
    if not texts:
        raise malformed(f"Policy statement must contain {name.lower()}s.")
    for text in texts:
        check(text)


def _check_action(action: str) -> None:
    if ":" not in action and action != "*":
        raise malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
    if not _ACTION.fullmatch(action):
        raise malformed(f"The action {action} is not valid.")


def _check_resource(resource: str) -> None:
    if not resource.startswith(("*", "arn:")) or arn_matches(resource, "", None, None) is None:
        raise malformed(f'Resource {resource} must be in ARN format or "*".')


def _check_condition(statement: Mapping[str, Any]) -> None:
    """Evaluated over a context with nothing in it: what can't be told then is an operator or a value that isn't one."""
    if "Condition" not in statement:
        return
    condition = statement["Condition"]
    if not isinstance(condition, dict) or not all(isinstance(keys, dict) and keys for keys in condition.values()):
        raise malformed("Syntax errors in policy. Condition must map operators to keys and values.")
    for operator, keys in condition.items():
        for key in keys:
            if ":" not in key:
                raise malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
        if holds({operator: keys}, {}, None) is None:
            raise malformed(f"Syntax errors in policy. Unknown operator or value: {operator}")


def _check_principal(principal: object) -> None:
    if principal == "*":
        return
    if not isinstance(principal, dict) or not principal or principal.keys() - set(_KINDS):
        raise malformed("Syntax errors in policy. Principal must be * or map AWS, Service or Federated to names.")
    for kind, names in principal.items():
        for name in _texts(names) or [""]:
            if not name or (kind == "AWS" and not _PRINCIPAL.fullmatch(name)):
                raise malformed(f'Invalid principal in policy: "{kind}":"{name}"')


def _texts(value: Any) -> list[str]:
    """A text or a list of texts.

    Raises:
        ApiError: it is something else.
    """
    texts: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise malformed("Syntax errors in policy.")
    return texts

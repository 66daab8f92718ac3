"""The statements of IAM policies: which of them apply to an action, a resource and a context, and to what effect.

A policy or statement that can't be read never allows; a Deny that can't be read in some part still denies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aerodrome.domain.conditions import holds
from aerodrome.domain.patterns import Context, all_of, any_of, matches, negated, parse, resource_matches

_OF_A_POLICY = frozenset({"Version", "Id", "Statement"})
_OF_A_STATEMENT = frozenset({"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"})
_WITH_VARIABLES = {"2012-10-17": True, "2008-10-17": False, None: False}


def effects(policies: Iterable[Mapping[str, Any]], action: str, resource: str, context: Context) -> set[str]:
    """The effects of all statements that apply: a part of {Allow, Deny}."""
    found = set()
    for policy in policies:
        version = policy.get("Version") if isinstance(policy, Mapping) else None
        known = isinstance(policy, Mapping) and _OF_A_POLICY.issuperset(policy)
        readable = known and (version is None or (isinstance(version, str) and version in _WITH_VARIABLES))
        variables = context if readable and _WITH_VARIABLES[version] else None
        for statement in _statements(policy):
            effect = statement.get("Effect")
            applies = all_of([readable or None, _applies(statement, action, resource, context, variables)])
            if effect == "Allow" and applies:
                found.add("Allow")
            elif isinstance(effect, str) and effect.lower() == "deny" and applies is not False:
                found.add("Deny")
    return found


def _statements(policy: object) -> Iterator[Mapping[str, Any]]:
    statements = policy.get("Statement") if isinstance(policy, Mapping) else None
    for statement in statements if isinstance(statements, list | tuple) else [statements]:
        if isinstance(statement, Mapping):
            yield statement


def _applies(
    statement: Mapping[str, Any], action: str, resource: str, context: Context, variables: Context | None
) -> bool | None:
    def is_action(pattern: str, _: bool | None) -> bool | None:
        return _action_matches(pattern, action)

    def is_resource(pattern: str, missing: bool | None) -> bool | None:
        return resource_matches(pattern, resource, variables, missing)

    known = True if _OF_A_STATEMENT.issuperset(statement) else None
    return all_of(
        [
            known,
            _element(statement, "Action", is_action),
            _element(statement, "Resource", is_resource),
            holds(statement["Condition"], context, variables) if "Condition" in statement else True,
        ]
    )


def _element(statement: Mapping[str, Any], name: str, test: Any) -> bool | None:
    """`Action` or `NotAction`, `Resource` or `NotResource`: one of the two, a text or a list of texts."""
    if (name in statement) == (f"Not{name}" in statement):
        return None
    negative = name not in statement
    value = statement[f"Not{name}" if negative else name]
    patterns = value if isinstance(value, list | tuple) else [value]
    if not patterns:
        return None
    missing = None if negative else False
    found = any_of(test(pattern, missing) if isinstance(pattern, str) else None for pattern in patterns)
    return negated(found) if negative else found


def _action_matches(pattern: str, action: str) -> bool | None:
    if pattern == "*":
        return True
    if ":" not in pattern:
        return None
    parsed = parse(pattern.lower(), None)
    return None if parsed is None else matches(parsed, action.lower())

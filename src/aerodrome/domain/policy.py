"""Whether IAM policies allow an action: deny by default, an explicit Deny wins, boundary and session policies limit.

A policy or statement that can't be read never allows; a Deny that can't be read in some part still denies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aerodrome.domain.conditions import holds, normalise
from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.patterns import Context, all_of, any_of, arn_matches, matches, negated, parse
from aerodrome.domain.principal import Principal
from aerodrome.errors import access_denied

ROLES = ("Admin", "Op", "User", "Viewer", "Public")  # Airflow's own roles, mwaa-spec 7.3

_ROOT_POLICY = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
_ELEMENTS = frozenset({"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"})
_SETTLED = 1000  # decisions that a principal keeps
_WITH_VARIABLES = {"2012-10-17": True, "2008-10-17": False, None: False}


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` is the end of AWS's sentence: "because no identity-based policy allows the airflow:X action"."""

    allowed: bool
    reason: str


def evaluate(
    policies: Sequence[Mapping[str, Any]],
    action: str,
    resource: str,
    context: Mapping[str, object] | None = None,
    *,
    boundary: Mapping[str, Any] | None = None,
    session_policies: Sequence[Mapping[str, Any]] | None = None,
) -> Decision:
    """Decide on `action` (`airflow:GetEnvironment`) and `resource` (an ARN, or `*`).

    `policies` are identity policies; `boundary` and `session_policies` limit them when they aren't None. `context` has
    condition keys and their values: text, number, bool, aware datetime, or a list of those.
    """
    return _evaluate(policies, action, resource, normalise(context or {}), boundary, session_policies)


def _evaluate(
    policies: Sequence[Mapping[str, Any]],
    action: str,
    resource: str,
    known: Context,
    boundary: Mapping[str, Any] | None,
    session_policies: Sequence[Mapping[str, Any]] | None,
) -> Decision:
    groups: list[tuple[str, Iterable[Mapping[str, Any]]]] = [("an identity-based policy", policies)]
    if boundary is not None:
        groups.append(("a permissions boundary", (boundary,)))
    if session_policies is not None:
        groups.append(("a session policy", session_policies))
    effects = [(name, _effects(group, action, resource, known)) for name, group in groups]
    for name, found in effects:
        if "Deny" in found:
            return Decision(False, f"with an explicit deny in {name}")
    for name, found in effects:
        if "Allow" not in found:
            return Decision(False, f"because no {name.partition(' ')[2]} allows the {action} action")
    return Decision(True, "because an identity-based policy allows it")


def decide(principal: Principal, action: str, resource: str, context: Mapping[str, object] | None = None) -> Decision:
    """What the principal's own policies say, with the condition keys that follow from who it is.

    The root of an account may do everything in it. Another account's resource is out of reach for all: MWAA has no
    resource-based policies that could open it.
    """
    settled = principal.settled.get((action, resource))
    if settled is not None:
        return Decision(*settled)
    account = resource.split(":", 5)[4] if resource.count(":") >= 5 else ""
    if account not in ("", principal.account):
        return Decision(False, f"because no resource-based policy allows the {action} action")
    is_root = principal.arn == f"arn:{principal.partition}:iam::{principal.account}:root"
    known = _Late(lambda: normalise(_with_caller(context or {}, principal)))
    decision = _evaluate(
        (_ROOT_POLICY, *principal.policies) if is_root else principal.policies,
        action,
        resource,
        known,
        principal.boundary,
        principal.session_policies,
    )
    if not known.was_asked and len(principal.settled) < _SETTLED:
        principal.settled[action, resource] = (decision.allowed, decision.reason)
    return decision


class _Late(Mapping[str, tuple[str, ...]]):
    """Condition keys that are worked out when a policy first asks for one: most policies never do."""

    __slots__ = ("_known", "_make")

    def __init__(self, make: Callable[[], Context]) -> None:
        self._make = make
        self._known: Context | None = None

    @property
    def was_asked(self) -> bool:
        return self._known is not None

    def _all(self) -> Context:
        if self._known is None:
            self._known = self._make()
        return self._known

    def __getitem__(self, key: str) -> tuple[str, ...]:
        return self._all()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def authorise(principal: Principal, action: str, resource: str, context: Mapping[str, object] | None = None) -> None:
    """Let pass, or raise.

    Raises:
        ApiError: `AccessDeniedException`, 403, with AWS's text (mwaa-spec 1.6).
    """
    decision = decide(principal, action, resource, context)
    if not decision.allowed:
        raise access_denied(
            f"User: {principal.arn} is not authorized to perform: {action} on resource: {resource} {decision.reason}"
        )


def roles_allowed(
    principal: Principal, action: str, key: EnvironmentKey, context: Mapping[str, object] | None = None
) -> list[str]:
    """The Airflow roles that the principal may take in an environment, strongest first (mwaa-spec 7.3)."""
    return [role for role in ROLES if decide(principal, action, key.role_arn(role), context).allowed]


def principal_context(principal: Principal) -> dict[str, object]:
    """The global condition keys that describe the caller; `aws:username` is for IAM users alone."""
    kind, _, name = principal.iam_identity.partition("/")
    iam = f"arn:{principal.partition}:iam::{principal.account}"
    types = {"user": "User", "assumed-role": "AssumedRole", "federated-user": "FederatedUser", "root": "Account"}
    context: dict[str, object] = {
        "aws:PrincipalArn": f"{iam}:role/{name.partition('/')[0]}" if kind == "assumed-role" else principal.arn,
        "aws:PrincipalAccount": principal.account,
        "aws:PrincipalType": types.get(kind),
        "aws:userid": principal.user_id,
        "aws:username": name.rpartition("/")[2] if kind == "user" else None,
    }
    context.update((f"aws:PrincipalTag/{tag}", value) for tag, value in principal.tags.items())
    return context


def request_context(*, now: datetime, region: str, source_ip: str, secure: bool) -> dict[str, object]:
    """The global condition keys that describe the request; `now` is aware, `secure` says whether it came over TLS."""
    return {
        "aws:CurrentTime": now,
        "aws:EpochTime": int(now.timestamp()),
        "aws:RequestedRegion": region,
        "aws:SourceIp": source_ip or None,
        "aws:SecureTransport": secure,
    }


def _with_caller(context: Mapping[str, object], principal: Principal) -> dict[str, object]:
    """The context, where nothing but the principal says who calls, in whatever case a key is spelled."""
    own = principal_context(principal)
    taken = {key.lower() for key in own}
    others = {
        key: value
        for key, value in context.items()
        if key.lower() not in taken and not key.lower().startswith("aws:principaltag/")
    }
    return {**others, **own}


def _effects(policies: Iterable[Mapping[str, Any]], action: str, resource: str, context: Context) -> set[str]:
    """The effects of all statements that apply: a part of {Allow, Deny}."""
    found = set()
    for policy in policies:
        version = policy.get("Version") if isinstance(policy, Mapping) else None
        readable = version is None or (isinstance(version, str) and version in _WITH_VARIABLES)
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
    def action_matches(pattern: str, _: bool | None) -> bool | None:
        return _action_matches(pattern, action)

    def resource_matches(pattern: str, missing: bool | None) -> bool | None:
        return arn_matches(pattern, resource, variables, missing)

    known = True if _ELEMENTS.issuperset(statement) else None
    return all_of(
        [
            known,
            _element(statement, "Action", action_matches),
            _element(statement, "Resource", resource_matches),
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

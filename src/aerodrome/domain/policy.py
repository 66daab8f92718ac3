"""Whether IAM policies allow an action: deny by default, an explicit Deny wins, boundary and session policies limit.

The rules are those of IAM's reference ("Policy evaluation logic"); of its kinds of policies, MWAA knows no
resource-based ones. What can't be read never allows, and still denies (see `statements`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aerodrome.domain.conditions import normalise
from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.patterns import Context
from aerodrome.domain.principal import Principal
from aerodrome.domain.statements import effects
from aerodrome.errors import access_denied

ROLES = ("Admin", "Op", "User", "Viewer", "Public")  # Airflow's own roles, mwaa-spec 7.3

_ROOT_POLICY = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
_SETTLED = 1000  # decisions that a principal keeps


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
    said = [(name, effects(group, action, resource, known)) for name, group in groups]
    for name, found in said:
        if "Deny" in found:
            return Decision(False, f"with an explicit deny in {name}")
    for name, found in said:
        if "Allow" not in found:
            return Decision(False, f"because no {name.partition(' ')[2]} allows the {action} action")
    return Decision(True, "because an identity-based policy allows it")


def decide(principal: Principal, action: str, resource: str, context: Mapping[str, object] | None = None) -> Decision:
    """What the principal's own policies say, with the condition keys that follow from who it is.

    The root of an account may do everything in it. Another account's resource is out of reach for all: MWAA has no
    resource-based policies that could open it. A federated user has what its session policies and its user's policies
    both allow, so without session policies it has nothing (STS's reference, GetFederationToken).
    """
    settled = principal.settled.get((action, resource))
    if settled is not None:
        return Decision(*settled)
    account = resource.split(":", 5)[4] if resource.count(":") >= 5 else ""
    if account not in ("", principal.account):
        return Decision(False, f"because no resource-based policy allows the {action} action")
    is_root = principal.arn == f"arn:{principal.partition}:iam::{principal.account}:root"
    session_policies = (
        () if principal.is_federated and principal.session_policies is None else principal.session_policies
    )
    owner = {"aws:ResourceAccount": account or principal.account}
    known = _Late(lambda: normalise(_with_caller({**(context or {}), **owner}, principal)))
    decision = _evaluate(
        (_ROOT_POLICY, *principal.policies) if is_root else principal.policies,
        action,
        resource,
        known,
        principal.boundary,
        session_policies,
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
    """The global condition keys that describe the caller; `aws:username` is for IAM users alone.

    Nobody signs in here with a second factor, which AWS says of temporary credentials only.
    """
    kind, _, name = principal.iam_identity.partition("/")
    types = {"user": "User", "assumed-role": "AssumedRole", "federated-user": "FederatedUser", "root": "Account"}
    context: dict[str, object] = {
        "aws:PrincipalArn": principal.entity_arn if kind == "assumed-role" else principal.arn,
        "aws:PrincipalAccount": principal.account,
        "aws:PrincipalType": types.get(kind),
        "aws:userid": principal.user_id,
        "aws:username": name.rpartition("/")[2] if kind == "user" else None,
        "aws:PrincipalIsAWSService": False,
        "aws:ViaAWSService": False,
        "aws:MultiFactorAuthPresent": False if principal.is_temporary else None,
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

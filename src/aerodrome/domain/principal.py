"""Who calls: what a signature's key id stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from aerodrome.domain.partitions import moved


@dataclass(frozen=True, slots=True)
class PrincipalReference:
    """Where a principal came from: enough to ask later whether it still stands, and nothing secret.

    The issuer is the user or role that the key was made for; its id is never given out again, so that a user who is
    deleted and made anew is another one. ARNs are the source's own, before `Principal.seen_in`.
    """

    access_key_id: str
    arn: str  # the caller's
    user_id: str  # the caller's: AIDA…, AROA…:SESSION
    issuer_arn: str
    issuer_id: str
    expires_at: datetime | None = None  # of temporary credentials
    session_policies: tuple[Mapping[str, Any], ...] | None = field(default=None, hash=False)
    session_tags: Mapping[str, str] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "expires_at": None if self.expires_at is None else self.expires_at.isoformat()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> PrincipalReference:
        """Raises:
        KeyError, TypeError, ValueError: `to_json` didn't write it.
        """
        policies, expires = raw["session_policies"], raw["expires_at"]
        return cls(
            **{
                **raw,
                "expires_at": None if expires is None else datetime.fromisoformat(expires),
                "session_policies": None if policies is None else tuple(policies),
            }
        )


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller, with the policies that say what it may do.

    `arn` is the caller's own ARN: `arn:aws:iam::ACCOUNT:user/NAME`, `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`
    or `arn:aws:iam::ACCOUNT:root`. `policies` are identity policies (inline, attached, of groups), `boundary` and
    `session_policies` limit them; all are IAM JSON policy documents, parsed.
    """

    arn: str
    account: str
    partition: str
    user_id: str
    policies: tuple[Mapping[str, Any], ...] = ()
    boundary: Mapping[str, Any] | None = None
    session_policies: tuple[Mapping[str, Any], ...] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    reference: PrincipalReference | None = None  # of every principal that a source hands out
    # (action, resource) -> what the policies say whatever the request's conditions are: kept by `policy.decide`.
    settled: dict[tuple[str, str], tuple[bool, str]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _seen: dict[str, Principal] = field(default_factory=dict, init=False, repr=False, compare=False)

    def seen_in(self, partition: str) -> Principal:
        """The caller in a region of that partition: its own ARN and those of its policies are of the partition.

        On AWS nobody has keys for two. The embedded cloud has one IAM for all, whose ARNs say `aws`.
        """
        if partition == self.partition:
            return self
        if partition not in self._seen:
            self._seen[partition] = replace(
                self,
                partition=partition,
                arn=moved(self.arn, partition),
                policies=tuple(moved(self.policies, partition)),
                boundary=moved(self.boundary, partition),
                session_policies=None
                if self.session_policies is None
                else tuple(moved(self.session_policies, partition)),
            )
        return self._seen[partition]

    @property
    def iam_identity(self) -> str:
        """`IamIdentity` of CreateWebLoginToken: `user/NAME`, `assumed-role/ROLE/SESSION` or `root` (mwaa-spec 7.2)."""
        return self.arn.split(":", 5)[5]

    @property
    def entity_arn(self) -> str:
        """ARN of the IAM user, role or root that stands behind it: `…:role/PATH/NAME` for a session of that role."""
        if self.reference is not None:
            return str(moved(self.reference.issuer_arn, self.partition))
        kind, _, name = self.iam_identity.partition("/")
        if kind != "assumed-role":
            return self.arn
        return f"arn:{self.partition}:iam::{self.account}:role/{name.partition('/')[0]}"

    @property
    def is_federated(self) -> bool:
        """Whether it is a session of `sts:GetFederationToken`."""
        return self.iam_identity.startswith("federated-user/")

    @property
    def is_temporary(self) -> bool:
        """Whether it signs with temporary credentials."""
        temporary = self.reference is not None and self.reference.expires_at is not None
        return temporary or self.iam_identity.startswith(("assumed-role/", "federated-user/"))


@dataclass(frozen=True, slots=True)
class AccessKey:
    """What verifies a signature: the secret of a key id, and whose it is."""

    key_id: str
    secret: str = field(repr=False)
    session_token: str | None = field(repr=False, default=None)
    expires_at: datetime | None = None  # of temporary credentials
    active: bool = True
    principal: Principal | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """Temporary credentials of a role."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ExecutionRole:
    """An execution role that may be assumed."""

    id: str  # never given out again: of a role that is made anew under its name it is another
    principal: Principal | None  # a session of it, with what its policies allow; None where the source can't tell


class RoleSource(Protocol):
    """Where the credentials of execution roles come from."""

    async def confirm(self, role_arn: str, *, source_arn: str | None = None) -> ExecutionRole:
        """The role, if it may be assumed for the environment of that ARN now; `assume_role` asks this first.

        Raises:
            Permanent: there is no such role, or its trust policy doesn't trust the service; the message says what to
                add to it.
            Temporary: the source is away for a moment.
        """
        ...

    async def assume_role(
        self, role_arn: str, session_name: str, duration: int = 3600, *, source_arn: str | None = None
    ) -> Credentials:
        """Credentials of the role, as the service `airflow-env.amazonaws.com` would assume it.

        `source_arn` is the environment's: trust policies ask for it as `aws:SourceArn` (mwaa-spec 8).

        Raises:
            Permanent: there is no such role, or its trust policy doesn't trust the service.
            Temporary: the source is away for a moment.
        """
        ...

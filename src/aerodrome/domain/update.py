"""UpdateEnvironment: what a call makes of the stored members, and what it may not change (mwaa-spec 1.3, 2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from aerodrome.domain import creation, products
from aerodrome.domain.environment import Environment, Fallback, LastUpdate, Status
from aerodrome.domain.objects import VERSIONS
from aerodrome.domain.sign_in import start_url_faults
from aerodrome.errors import validation_error

_NOT_MEMBERS = ("Name", "WorkerReplacementStrategy")  # of the environment: they say which one, and how
_MERGED = ("LoggingConfiguration", "NetworkConfiguration")  # what a call leaves out of them stays
_CENTER = "IdentityCenterConfiguration"
_READ_FROM_BUCKET = ("ExecutionRoleArn", "SourceBucketArn", "DagS3Path")
SOURCE = "UpdateEnvironment"  # LastUpdate.Source; MWAA publishes no values


class Strategy(StrEnum):
    """`WorkerReplacementStrategy`: what becomes of the tasks that the old workers run.

    Without one the old workers finish their tasks while the environment is AVAILABLE already: nobody asked us to kill
    them. MWAA's default, FORCED (mwaa-spec 1.5), is that of strict mode.
    """

    FORCED = "FORCED"  # they are killed, and retried if they may be
    GRACEFUL = "GRACEFUL"  # they finish within 12 h; the environment is UPDATING until then


@dataclass(frozen=True, slots=True)
class Update:
    """What UpdateEnvironment was asked for. `members` are those of the environment that the call names."""

    members: Mapping[str, Any]
    strategy: str | None

    @classmethod
    def of(cls, params: Mapping[str, Any], *, strict: bool = False) -> Update:
        members = {name: value for name, value in params.items() if name not in _NOT_MEMBERS and value is not None}
        usual = Strategy.FORCED if strict else None
        return cls(members, params.get("WorkerReplacementStrategy") or usual)

    def apply(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The whole record after the update. Options are replaced as a whole, an empty path means none.

        The stored version of an object goes when the call names the object, or another bucket, without a version.
        """
        merged = {**stored, **self.members}
        for path, version in VERSIONS.items():
            if not self.members.get(version) and (path in self.members or self._changes_bucket(stored)):
                merged.pop(version, None)
        for name in _MERGED:
            if name in self.members:
                merged[name] = {**(stored.get(name) or {}), **self.members[name]}
        if not merged.get(_CENTER):  # an empty one takes it away
            merged.pop(_CENTER, None)
        return {name: value for name, value in merged.items() if value != "" or name in _READ_FROM_BUCKET}

    def _changes_bucket(self, stored: Mapping[str, Any]) -> bool:
        return self.members.get("SourceBucketArn") not in (None, stored.get("SourceBucketArn"))

    def check(self, stored: Mapping[str, Any], *, strict: bool, issuer: str | None = None) -> None:
        """Refuse what the environment can't become: the rules of a create, over what is stored and what is new.

        `issuer` is the installation's identity provider. A stored StartUrl may be of an earlier one: that keeps no
        other update from being made.

        Raises:
            ApiError: ValidationException that names every wrong field and the fix.
        """
        merged = self.apply(stored)
        if "Teams" in self.members:  # of another shape than a create's
            raise validation_error("Invalid request provided: Teams: not supported by Aerodrome yet; leave it out.")
        if merged["AirflowVersion"] != stored["AirflowVersion"]:
            raise validation_error(
                f"Invalid request provided: AirflowVersion: an environment of {stored['AirflowVersion']} can't be"
                f" changed to {merged['AirflowVersion']}: Aerodrome has no upgrades yet. Leave the field out, or create"
                " another environment."
            )
        creation.check(merged, strict=strict, faults=start_url_faults(self.members, issuer))

    def changes(self, stored: Mapping[str, Any]) -> list[str]:
        """The names of the members that differ afterwards, sorted."""
        merged = self.apply(stored)
        return sorted(name for name in merged.keys() | stored.keys() if merged.get(name) != stored.get(name))

    def describe(self, stored: Mapping[str, Any]) -> str:
        """What it changes, for a person; never a value, which may be a secret."""
        how = f" ({self.strategy})" if self.strategy else ""
        if not self.members:
            return f"UpdateEnvironment: everything is started anew{how}"
        return f"UpdateEnvironment: {', '.join(self.changes(stored)) or 'nothing differs'}{how}"

    def changes_role(self, stored: Mapping[str, Any]) -> bool:
        """Whether another role is passed to the service."""
        return "ExecutionRoleArn" in self.changes(stored)

    def reads_bucket(self, stored: Mapping[str, Any]) -> bool:
        """Whether something is read from elsewhere, by somebody else or in another version: it is looked at first."""
        objects = {member for pair in VERSIONS.items() for member in pair}
        return not objects.isdisjoint(self.members) or not set(_READ_FROM_BUCKET).isdisjoint(self.changes(stored))

    def with_versions(self, versions: Mapping[str, str]) -> Update:
        """The same update, naming these versions of objects."""
        return replace(self, members={**self.members, **versions})

    def begin(self, environment: Environment, now: datetime) -> dict[str, Any]:
        """The changes to the row, for `EnvironmentStore.update`.

        A call that names no member starts every component anew, in the current runtime: MWAA's users pick up patches
        so (mwaa-spec 1.6). Any other one touches what it changes and nothing else.
        """
        changes: dict[str, Any] = {
            "status": Status.UPDATING,
            "desired": self.apply(environment.desired),
            "last_update": LastUpdate("PENDING", now, source=SOURCE, strategy=self.strategy),
            "fallback": Fallback(environment.runtime, environment.revision),
            "made": products.in_use(environment),
        }
        if not self.members:
            changes |= {"runtime": None, "revision": environment.generation + 1}
        return changes


def check_immutable(body: Mapping[str, Any]) -> None:
    """Refuse what the model doesn't let through, and would otherwise be ignored as any unknown member is.

    Raises:
        ApiError: ValidationException.
    """
    network = body.get("NetworkConfiguration")
    named = {
        "KmsKey": "KmsKey" in body,
        "EndpointManagement": "EndpointManagement" in body,
        "NetworkConfiguration.SubnetIds": isinstance(network, Mapping) and "SubnetIds" in network,
    }
    faults = [f"{name}: can't be changed after the create; leave it out." for name, found in named.items() if found]
    if "Tags" in body:
        faults.append("Tags: are changed with TagResource and UntagResource; leave them out.")
    if faults:
        raise validation_error("Invalid request provided: " + " ".join(faults))


def in_force(environment: Environment) -> Environment:
    """The environment as it runs: as before an update that may yet be undone."""
    if environment.fallback is None or environment.applied is None:
        return environment
    before = environment.fallback
    return replace(environment, desired=environment.applied, runtime=before.runtime, revision=before.revision)


def roll_back(environment: Environment) -> dict[str, Any]:
    """The changes to the row that undo an update which failed."""
    fallback = environment.fallback or Fallback(environment.runtime, environment.revision)
    return {
        "status": Status.ROLLING_BACK,
        "desired": environment.applied or environment.desired,
        "runtime": fallback.runtime,
        "revision": fallback.revision,
        "fallback": None,
    }

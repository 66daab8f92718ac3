"""Teams and IAM Identity Center: what goes together and what doesn't (mwaa-spec 1.3)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any


def team_faults(members: Mapping[str, Any]) -> list[str]:
    """What is wrong with `Teams` and `IdentityCenterConfiguration` of a CreateEnvironment."""
    return [*_identity_center_faults(members), *_overlaps(members)]


def _identity_center_faults(members: Mapping[str, Any]) -> list[str]:
    center = members.get("IdentityCenterConfiguration")
    if center is None:
        needed = "Teams: teams are groups of IAM Identity Center; set IdentityCenterConfiguration too."
        return [needed] if members.get("Teams") else []
    lacking = [name for name in ("StartUrl", "IdentityStoreId") if not center.get(name)]
    return [f"IdentityCenterConfiguration: {' and '.join(lacking)} must be set."] if lacking else []


def _overlaps(members: Mapping[str, Any]) -> list[str]:
    """Folders are compared as key prefixes with their slash: `dags/` holds `dags/a/`, not `dags-a/`."""
    teams: Mapping[str, Any] = members.get("Teams") or {}
    folders = {"the environment itself": _folder(members)}
    folders |= {f"team {name}": _folder(team) for name, team in teams.items() if "DagS3Path" in team}
    return [
        f"Teams: the DAG folders of {one} and {other} overlap ({folders[one]}, {folders[other]}); give each its own."
        for one, other in combinations(folders, 2)
        if folders[one].startswith(folders[other]) or folders[other].startswith(folders[one])
    ]


def _folder(place: Mapping[str, Any]) -> str:
    path = place["DagS3Path"].strip("/")
    return f"{place['SourceBucketArn'].split(':::', 1)[1]}/{path}{'/' if path else ''}"

"""CreateEnvironment: defaults (mwaa-spec 1.5) and the rules beyond the model (1.6), before anything changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aerodrome.domain import classes, versions
from aerodrome.domain.airflow_options import option_faults
from aerodrome.domain.objects import VERSIONS
from aerodrome.domain.tags import reserved_faults
from aerodrome.domain.teams import team_faults
from aerodrome.errors import validation_error

_LOG_MODULES = ("DagProcessingLogs", "SchedulerLogs", "TaskLogs", "WebserverLogs", "WorkerLogs")
_BOTH_MODES_SINCE = (3, 2)  # Airflow's version, mwaa-spec 1.3
# What a later release brings. Taking it in and doing nothing would be a lie.
_NOT_YET = {
    "Teams": "teams",
}


def complete(params: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
    """The members of a CreateEnvironment call but its name and tags, with every default filled in; those without one
    stay absent.

    `strict`: MWAA's own counts of schedulers and web servers, else one of each.
    """
    micro = params.get("EnvironmentClass") == "mw1.micro"
    one_or_two = 2 if strict and not micro else 1
    minimum = params.get("MinWebservers", min(one_or_two, params.get("MaxWebservers", one_or_two)))
    defaults: dict[str, Any] = {
        "AirflowVersion": versions.DEFAULT_VERSION,
        "EnvironmentClass": "mw1.small",
        "MaxWorkers": 1 if micro else max(10, params.get("MinWorkers", 1)),
        "MinWorkers": 1,
        "Schedulers": one_or_two,
        "MinWebservers": minimum,
        "MaxWebservers": max(minimum, one_or_two),
        "WebserverAccessMode": "PRIVATE_ONLY",
        "EndpointManagement": "SERVICE",
        "WeeklyMaintenanceWindowStart": "SUN:03:30",
    }
    given = {name: value for name, value in params.items() if name not in ("Name", "Tags") and value is not None}
    given = {name: value for name, value in given.items() if value != "" or name not in VERSIONS}
    logging = given.get("LoggingConfiguration", {})
    modules = {name: logging.get(name, {"Enabled": False, "LogLevel": "INFO"}) for name in _LOG_MODULES}
    return {**defaults, **given, "LoggingConfiguration": modules}


def check(members: Mapping[str, Any], *, strict: bool, tags: Iterable[str] = (), faults: Iterable[str] = ()) -> None:
    """Refuse what no environment can be made of. `tags`: the keys of its tags; `faults`: what is wrong besides.

    Raises:
        ApiError: ValidationException that names every wrong field, its value where it isn't secret, and the fix.
    """
    found = [
        *_check_not_yet(members),
        *_check_version(members),
        *_check_class(members, strict=strict),
        *_check_network(members),
        *_check_access_mode(members),
        *_check_object_versions(members),
        *option_faults(members.get("AirflowConfigurationOptions") or {}),
        *team_faults(members),
        *reserved_faults("Tags", tags),
        *faults,
    ]
    if found:
        raise validation_error("Invalid request provided: " + " ".join(found))


def _check_not_yet(members: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {what} is not supported by Aerodrome yet; leave the field out."
        for name, what in _NOT_YET.items()
        if members.get(name)
    ]


def _check_version(members: Mapping[str, Any]) -> list[str]:
    version = members["AirflowVersion"]
    if versions.exists(version):
        return []
    return [f"AirflowVersion: {version} is not supported. Supported: {', '.join(sorted(versions.VERSIONS))}."]


def _check_class(members: Mapping[str, Any], *, strict: bool) -> list[str]:
    name = members["EnvironmentClass"]
    if not classes.exists(name):
        return [f"EnvironmentClass: {name} is not supported. Supported: {', '.join(classes.CLASSES)}."]
    limits = classes.get(name)
    least = 2 if strict and limits.max_schedulers > 1 else 1
    faults: list[str] = []
    for field, low, high in (
        ("MinWorkers", 1, limits.max_workers),
        ("MaxWorkers", 1, limits.max_workers),
        ("Schedulers", least, limits.max_schedulers),
        ("MinWebservers", least, limits.max_web_servers),
        ("MaxWebservers", least, limits.max_web_servers),
    ):
        if not low <= members[field] <= high:
            allowed = str(low) if low == high else f"from {low} to {high}"
            faults.append(f"{field}: {members[field]} is not allowed with {name}; it must be {allowed}.")
    for low_field, high_field in (("MinWorkers", "MaxWorkers"), ("MinWebservers", "MaxWebservers")):
        if members[low_field] > members[high_field]:
            faults.append(
                f"{low_field}: {members[low_field]} is more than {high_field} ({members[high_field]});"
                f" lower {low_field} or raise {high_field}."
            )
    return faults


def _check_network(members: Mapping[str, Any]) -> list[str]:
    """The model says how many of each; that they are there, and that the subnets are two, it doesn't."""
    network = members["NetworkConfiguration"]
    faults = [
        f"NetworkConfiguration: {name} must be set."
        for name in ("SubnetIds", "SecurityGroupIds")
        if not network.get(name)
    ]
    subnets = network.get("SubnetIds") or []
    if len(set(subnets)) < len(subnets):
        faults.append(
            f"NetworkConfiguration: SubnetIds: {subnets[0]} is there twice; name two subnets in different availability"
            " zones."
        )
    return faults


def _check_access_mode(members: Mapping[str, Any]) -> list[str]:
    mode, version = members["WebserverAccessMode"], members["AirflowVersion"]
    if mode != "PUBLIC_AND_PRIVATE" or not versions.exists(version):
        return []
    if tuple(map(int, version.split(".")[:2])) >= _BOTH_MODES_SINCE:
        return []
    return [f"WebserverAccessMode: {mode} needs Airflow 3.2 or later, not {version}; use PUBLIC_ONLY or PRIVATE_ONLY."]


def _check_object_versions(members: Mapping[str, Any]) -> list[str]:
    return [
        f"{version}: it is the version of {path}, which is not set; set both or neither."
        for path, version in VERSIONS.items()
        if members.get(version) and not members.get(path)
    ]

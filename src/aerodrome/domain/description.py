"""An environment as GetEnvironment shows it (mwaa-spec 1.4): members that are not set are left out."""

from __future__ import annotations

from typing import Any

from aerodrome.domain.endpoints import endpoint_services
from aerodrome.domain.environment import Environment, LastUpdate, Status
from aerodrome.domain.web_server import HTTPS_PORT, webserver_url

# Members of the specification that GetEnvironment echoes as they are.
_ECHOED = (
    "ExecutionRoleArn",
    "KmsKey",
    "AirflowVersion",
    "SourceBucketArn",
    "DagS3Path",
    "PluginsS3Path",
    "PluginsS3ObjectVersion",
    "RequirementsS3Path",
    "RequirementsS3ObjectVersion",
    "StartupScriptS3Path",
    "StartupScriptS3ObjectVersion",
    "AirflowConfigurationOptions",
    "EnvironmentClass",
    "MinWorkers",
    "MaxWorkers",
    "MinWebservers",
    "MaxWebservers",
    "Schedulers",
    "NetworkConfiguration",
    "LoggingConfiguration",
    "WeeklyMaintenanceWindowStart",
    "WebserverAccessMode",
    "EndpointManagement",
    "IdentityCenterConfiguration",
    "Teams",
)


def describe(environment: Environment, private_port: int = HTTPS_PORT) -> dict[str, Any]:
    """The output shape `Environment`. `private_port`: of private web servers.

    Shows what is in force: `applied` once there is any, else what was asked for. `CeleryExecutorQueue` is left out: the
    broker is no SQS queue, and a made-up ARN would claim one. Log group ARNs are left out while no log group exists.
    """
    key = environment.key
    shown = environment.desired if environment.applied is None else environment.applied
    output: dict[str, Any] = {
        "Name": key.name,
        "Status": str(environment.status),
        "Arn": key.arn,
        "CreatedAt": environment.created_at,
        "ServiceRoleArn": (
            f"arn:{key.partition}:iam::{key.account}:role/aws-service-role/"
            "airflow.amazonaws.com/AWSServiceRoleForAmazonMWAA"
        ),
        "LastUpdate": _last_update(environment),
    }
    output |= {name: shown[name] for name in _ECHOED if shown.get(name) is not None}
    output |= endpoint_services(environment.id, key, shown)
    if environment.tags:
        output["Tags"] = environment.tags
    if environment.status not in (Status.CREATE_FAILED, Status.DELETED):
        output["WebserverUrl"] = webserver_url(environment, private_port)
    return output


def _last_update(environment: Environment) -> dict[str, Any]:
    """Always there: Terraform reads it without asking whether it is."""
    update = environment.last_update or LastUpdate("PENDING", environment.created_at)
    output: dict[str, Any] = {"Status": update.status, "CreatedAt": update.created_at}
    if update.error_message:
        output["Error"] = {"ErrorCode": update.error_code, "ErrorMessage": update.error_message}
    if update.source:
        output["Source"] = update.source
    if update.strategy:
        output["WorkerReplacementStrategy"] = update.strategy
    return output

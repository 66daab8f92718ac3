"""What MWAA needs an execution role to be allowed, besides reading the bucket: its documented policy (mwaa-spec 8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.policy import decide
from aerodrome.domain.principal import Principal

_LOGS = ("CreateLogStream", "CreateLogGroup", "PutLogEvents", "GetLogEvents", "GetLogRecord", "GetLogGroupFields")
_QUEUE = ("ChangeMessageVisibility", "DeleteMessage", "GetQueueAttributes", "GetQueueUrl", "ReceiveMessage",
          "SendMessage")  # fmt: skip
_KEY = ("Decrypt", "DescribeKey", "GenerateDataKey", "Encrypt")


@dataclass(frozen=True, slots=True)
class Need:
    """An action on a resource, asked under these condition keys."""

    action: str
    resource: str
    context: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.action} on {self.resource}"


def needs(key: EnvironmentKey, members: Mapping[str, Any]) -> Iterator[Need]:
    """What is asked of the role of an environment with these members.

    The queue is in an account of the service, whose number nobody knows: one stands for all.
    """
    home = f"{key.region}:{key.account}"
    yield Need("airflow:PublishMetrics", key.arn)
    logging = members.get("LoggingConfiguration") or {}
    if any(module.get("Enabled") for module in logging.values()):
        group = f"arn:{key.partition}:logs:{home}:log-group:airflow-{key.name}-Task"
        yield from (Need(f"logs:{action}", group) for action in _LOGS)
        yield Need("logs:DescribeLogGroups", "*")
    yield Need("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "AmazonMWAA"})
    queue = f"arn:{key.partition}:sqs:{key.region}:{key.account}:airflow-celery-{key.name}"
    yield from (Need(f"sqs:{action}", queue) for action in _QUEUE)
    if members.get("KmsKey"):
        given = str(members["KmsKey"])
        arn = given if given.startswith("arn:") else f"arn:{key.partition}:kms:{home}:key/{given}"
        via = {"kms:ViaService": f"sqs.{key.region}.amazonaws.com"}
        yield from (Need(f"kms:{action}", arn, via) for action in _KEY)


def lacking(role: Principal, key: EnvironmentKey, members: Mapping[str, Any]) -> list[Need]:
    """What the role's policies and its boundary don't allow of that."""
    return [need for need in needs(key, members) if not decide(role, need.action, need.resource, need.context).allowed]

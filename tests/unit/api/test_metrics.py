"""PublishMetrics: the model's deprecated, internal operation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from support.mwaa import House

DATUM: dict[str, Any] = {
    "MetricName": "Heartbeat",
    "Timestamp": datetime(2026, 1, 2, tzinfo=UTC),
    "Value": 1.5,
    "Unit": "Count/Second",
    "StatisticValues": {"SampleCount": 3, "Sum": 4.0, "Minimum": 1.0, "Maximum": 2.0},
    "Dimensions": [{"Name": "Function", "Value": "Scheduler"}],
}


async def test_data_is_taken_and_dropped(house: House) -> None:
    await house.create()
    before = (await house.store.all())[0], await house.history("demo")
    for data in ([], [DATUM], [DATUM] * 100):
        answer = await house.call("publish_metrics", EnvironmentName="demo", MetricData=data)
        assert answer.keys() == {"ResponseMetadata"}
    assert ((await house.store.all())[0], await house.history("demo")) == before
    assert len(house.poked) == 1


async def test_data_that_breaks_the_model_is_refused(house: House) -> None:
    await house.create()
    for name, wrong in {"unit": {"Unit": "Furlongs"}, "metricName": {"MetricName": None}}.items():
        datum = {member: value for member, value in {**DATUM, **wrong}.items() if value is not None}
        refused = await house.refused_unchecked("publish_metrics", EnvironmentName="demo", MetricData=[datum])
        assert refused["Error"]["Code"] == "ValidationException"
        assert f"metricData.1.member.{name}" in refused["Error"]["Message"]


async def test_the_caller_needs_the_permission(house: House) -> None:
    """What MWAA's sample execution role grants: airflow:PublishMetrics on the environment."""
    await house.create()
    arn = "arn:aws:airflow:eu-west-1:*:environment/demo"
    house.account.policies["role"] = [{"Effect": "Allow", "Action": "airflow:PublishMetrics", "Resource": arn}]
    await house.call("publish_metrics", key="role", EnvironmentName="demo", MetricData=[DATUM])
    refused = await house.refused("publish_metrics", key="role", EnvironmentName="other", MetricData=[DATUM])
    assert refused["Error"]["Code"] == "AccessDeniedException"


async def test_an_unknown_environment_is_bad_input(house: House) -> None:
    """The operation has no ResourceNotFoundException in the model."""
    refused = await house.refused("publish_metrics", EnvironmentName="nobody", MetricData=[DATUM])
    assert refused["Error"]["Code"] == "ValidationException"
    assert "EnvironmentName: environment nobody not found in eu-west-1" in refused["Error"]["Message"]

from __future__ import annotations

from typing import Any

import pytest

from aerodrome.domain.creation import check, complete
from aerodrome.errors import ApiError

GIVEN: dict[str, Any] = {
    "Name": "demo",
    "ExecutionRoleArn": "arn:aws:iam::100000000001:role/mwaa",
    "SourceBucketArn": "arn:aws:s3:::bucket",
    "DagS3Path": "dags",
    "NetworkConfiguration": {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]},
}


def refused(strict: bool = False, **members: Any) -> str:
    with pytest.raises(ApiError) as caught:
        check(complete({**GIVEN, **members}, strict=strict), strict=strict)
    assert (caught.value.code, caught.value.status) == ("ValidationException", 400)
    return caught.value.message


def accepted(strict: bool = False, **members: Any) -> dict[str, Any]:
    whole = complete({**GIVEN, **members}, strict=strict)
    check(whole, strict=strict)
    return whole


def test_defaults_are_mwaas_but_for_the_counts_of_one() -> None:
    whole = accepted()
    assert whole["AirflowVersion"] == "3.3.1"
    assert (whole["MinWorkers"], whole["MaxWorkers"]) == (1, 10)
    assert (whole["Schedulers"], whole["MinWebservers"], whole["MaxWebservers"]) == (1, 1, 1)
    assert whole["WebserverAccessMode"] == "PRIVATE_ONLY"
    assert set(whole["LoggingConfiguration"]) == {
        "DagProcessingLogs",
        "SchedulerLogs",
        "TaskLogs",
        "WebserverLogs",
        "WorkerLogs",
    }
    assert "Name" not in whole


def test_strict_brings_mwaas_counts_and_refusals() -> None:
    whole = accepted(strict=True)
    assert (whole["Schedulers"], whole["MinWebservers"], whole["MaxWebservers"]) == (2, 2, 2)
    message = refused(strict=True, Schedulers=1, MinWebservers=1)
    assert "Schedulers: 1" in message
    assert "MinWebservers: 1" in message
    assert accepted(strict=True, EnvironmentClass="mw1.micro")["Schedulers"] == 1


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"AirflowVersion": "9.9.9"}, ["AirflowVersion: 9.9.9", "3.3.1"]),
        ({"EnvironmentClass": "mw1.giant"}, ["EnvironmentClass: mw1.giant", "mw1.small"]),
        ({"MinWorkers": 5, "MaxWorkers": 2}, ["MinWorkers: 5", "MaxWorkers (2)"]),
        ({"MaxWorkers": 1000}, ["MaxWorkers: 1000", "from 1 to 25"]),
        ({"EnvironmentClass": "mw1.micro", "MaxWorkers": 2}, ["MaxWorkers: 2", "must be 1"]),
        ({"MinWebservers": 3, "MaxWebservers": 2}, ["MinWebservers: 3"]),
        ({"AirflowConfigurationOptions": {"core.executor": "LocalExecutor"}}, ["core.executor"]),
        ({"EndpointManagement": "CUSTOMER"}, ["EndpointManagement: CUSTOMER"]),
        ({"RequirementsS3Path": "requirements.txt"}, ["RequirementsS3Path"]),
        ({"KmsKey": "arn:aws:kms:eu-west-1:100000000001:key/x"}, ["KmsKey"]),
    ],
)
def test_every_refusal_names_the_field_and_the_fix(members: dict[str, Any], words: list[str]) -> None:
    message = refused(**members)
    for word in words:
        assert word in message


def test_all_faults_are_told_at_once() -> None:
    message = refused(AirflowVersion="1.0", EnvironmentClass="x")
    assert "AirflowVersion" in message
    assert "EnvironmentClass" in message


def test_a_secret_option_value_is_never_told() -> None:
    assert "hunter2" not in refused(AirflowConfigurationOptions={"core.fernet_key": "hunter2"})


def test_more_workers_than_the_default_maximum_raise_it() -> None:
    assert accepted(MinWorkers=12)["MaxWorkers"] == 12


def test_one_given_web_server_maximum_lowers_the_default_minimum() -> None:
    whole = accepted(MaxWebservers=1)
    assert (whole["MinWebservers"], whole["MaxWebservers"]) == (1, 1)
    assert accepted(MinWebservers=3)["MaxWebservers"] == 3

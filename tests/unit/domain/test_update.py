from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aerodrome.domain.creation import complete
from aerodrome.domain.environment import Environment, Fallback, Status
from aerodrome.domain.update import Update, check_immutable, roll_back
from aerodrome.errors import ApiError
from support.world import NOW, environment

STORED = complete(
    {
        "ExecutionRoleArn": "arn:aws:iam::100000000001:role/mwaa",
        "SourceBucketArn": "arn:aws:s3:::bucket",
        "DagS3Path": "dags",
        "NetworkConfiguration": {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]},
        "AirflowConfigurationOptions": {"core.default_task_retries": "1", "smtp.smtp_password": "hunter2"},
        "MinWorkers": 3,
        "MaxWorkers": 5,
    },
    strict=False,
)


def available() -> Environment:
    made = replace(environment(), status=Status.AVAILABLE, desired=STORED, applied=STORED, generation=9)
    return replace(made, runtime="r1", revision=4)


def applied(**members: Any) -> dict[str, Any]:
    update = Update.of({"Name": "demo", **members})
    update.check(STORED, strict=False)
    return update.apply(STORED)


def refused(**members: Any) -> str:
    with pytest.raises(ApiError) as caught:
        applied(**members)
    assert (caught.value.code, caught.value.status) == ("ValidationException", 400)
    return caught.value.message


def test_what_is_not_named_stays() -> None:
    assert applied() == STORED
    assert applied(MaxWorkers=7) == {**STORED, "MaxWorkers": 7}


def test_how_it_is_done_is_no_member_of_the_environment() -> None:
    assert applied(WorkerReplacementStrategy="FORCED") == STORED


def test_options_are_replaced_as_a_whole() -> None:
    given = {"core.lazy_load_plugins": "False"}
    assert applied(AirflowConfigurationOptions=given)["AirflowConfigurationOptions"] == given
    assert applied(AirflowConfigurationOptions={})["AirflowConfigurationOptions"] == {}


def test_log_modules_and_subnets_that_are_not_named_stay() -> None:
    one = {"TaskLogs": {"Enabled": True, "LogLevel": "ERROR"}}
    assert applied(LoggingConfiguration=one)["LoggingConfiguration"] == {**STORED["LoggingConfiguration"], **one}
    assert applied(NetworkConfiguration={"SecurityGroupIds": ["sg-9"]})["NetworkConfiguration"] == {
        "SubnetIds": ["subnet-1", "subnet-2"],
        "SecurityGroupIds": ["sg-9"],
    }


def test_an_empty_path_takes_the_file_away_but_may_be_the_root_of_the_bucket() -> None:
    with_file = {**STORED, "RequirementsS3Path": "requirements.txt"}
    assert "RequirementsS3Path" not in Update.of({"RequirementsS3Path": ""}).apply(with_file)
    assert "PluginsS3Path" not in complete({"PluginsS3Path": ""}, strict=False)
    assert applied(DagS3Path="")["DagS3Path"] == ""


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"MaxWorkers": 2}, ["MinWorkers: 3", "MaxWorkers (2)"]),
        ({"MinWorkers": 6}, ["MinWorkers: 6", "MaxWorkers (5)"]),
        ({"MinWebservers": 3, "MaxWebservers": 2}, ["MinWebservers: 3"]),
        ({"EnvironmentClass": "mw1.micro"}, ["MaxWorkers: 5", "MinWorkers: 3"]),
        ({"EnvironmentClass": "mw1.giant"}, ["EnvironmentClass: mw1.giant", "mw1.small"]),
        ({"AirflowConfigurationOptions": {"core.fernet_key": "secret-value"}}, ["core.fernet_key"]),
        ({"AirflowVersion": "2.11.2"}, ["AirflowVersion", "3.3.1", "2.11.2", "no upgrades yet"]),
        ({"AirflowVersion": "9.9"}, ["AirflowVersion", "no upgrades yet"]),
        ({"Teams": {"Remove": ["a-team"]}}, ["Teams: not supported"]),
        ({"Teams": {"AddOrUpdate": {"a-team": {"SourceBucketArn": "arn:aws:s3:::b", "DagS3Path": "x"}}}}, ["Teams"]),
        ({"RequirementsS3ObjectVersion": "v"}, ["RequirementsS3ObjectVersion", "RequirementsS3Path, which is not set"]),
    ],
)
def test_the_rules_of_a_create_over_what_is_stored_and_new(members: dict[str, Any], words: list[str]) -> None:
    message = refused(**members)
    for word in words:
        assert word in message
    assert "secret-value" not in message


def test_the_same_version_is_no_change() -> None:
    assert applied(AirflowVersion="3.3.1") == STORED


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ({"KmsKey": "x"}, "KmsKey"),
        ({"EndpointManagement": "SERVICE"}, "EndpointManagement"),
        ({"NetworkConfiguration": {"SubnetIds": []}}, "NetworkConfiguration.SubnetIds"),
        ({"Tags": {}}, "Tags"),
    ],
)
def test_what_is_fixed_at_create_is_refused(body: dict[str, Any], member: str) -> None:
    with pytest.raises(ApiError, match=member) as caught:
        check_immutable(body)
    assert caught.value.code == "ValidationException"


def test_what_else_a_body_holds_is_not_looked_at() -> None:
    check_immutable({"MaxWorkers": 3, "NetworkConfiguration": {"SecurityGroupIds": ["sg"]}, "Unknown": 1})
    check_immutable({"NetworkConfiguration": "no object"})


def test_changes_are_told_by_name() -> None:
    update = Update.of({"MaxWorkers": 9, "MinWorkers": 3, "AirflowConfigurationOptions": {}})
    assert update.changes(STORED) == ["AirflowConfigurationOptions", "MaxWorkers"]


@pytest.mark.parametrize(
    ("members", "role", "source"),
    [
        ({"ExecutionRoleArn": "arn:aws:iam::100000000001:role/other"}, True, True),
        ({"ExecutionRoleArn": STORED["ExecutionRoleArn"]}, False, False),
        ({"SourceBucketArn": "arn:aws:s3:::other"}, False, True),
        ({"DagS3Path": "other"}, False, True),
        ({"RequirementsS3Path": "requirements.txt"}, False, True),
        ({"PluginsS3ObjectVersion": "v2"}, False, True),
        ({"MaxWorkers": 9}, False, False),
    ],
)
def test_what_has_to_be_looked_at_first(members: dict[str, Any], role: bool, source: bool) -> None:
    update = Update.of(members)
    assert (update.changes_role(STORED), update.reads_bucket(STORED)) == (role, source)


def test_an_update_keeps_the_runtime_and_remembers_what_it_goes_back_to() -> None:
    made = available()
    begun = replace(made, **Update.of({"MaxWorkers": 9, "WorkerReplacementStrategy": "FORCED"}).begin(made, NOW))
    assert begun.status is Status.UPDATING
    assert (begun.runtime, begun.revision) == ("r1", 4)
    assert begun.fallback == Fallback("r1", 4)
    assert begun.applied == STORED
    assert begun.last_update is not None
    assert (begun.last_update.status, begun.last_update.strategy) == ("PENDING", "FORCED")
    assert begun.last_update.source == "UpdateEnvironment"


def test_an_update_with_nothing_in_it_starts_everything_anew() -> None:
    made = available()
    for params in ({"Name": "demo"}, {"Name": "demo", "WorkerReplacementStrategy": "GRACEFUL"}):
        begun = replace(made, **Update.of(params).begin(made, NOW))
        assert (begun.desired, begun.runtime) == (STORED, None)
        assert begun.revision > made.revision


def test_a_roll_back_restores_all() -> None:
    made = available()
    begun = replace(made, **Update.of({"MaxWorkers": 9}).begin(made, NOW))
    begun = replace(begun, runtime="r2", revision=11)
    back = replace(begun, **roll_back(begun))
    assert back.status is Status.ROLLING_BACK
    assert back.desired == STORED
    assert (back.runtime, back.revision, back.fallback) == ("r1", 4, None)

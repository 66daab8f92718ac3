from __future__ import annotations

from typing import Any

import pytest

from aerodrome.domain import classes, versions
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
        (
            {"AirflowVersion": "2.11.2", "WebserverAccessMode": "PUBLIC_AND_PRIVATE"},
            ["WebserverAccessMode: PUBLIC_AND_PRIVATE", "3.2 or later, not 2.11.2", "PRIVATE_ONLY"],
        ),
        ({"PluginsS3ObjectVersion": "v"}, ["PluginsS3ObjectVersion", "PluginsS3Path, which is not set"]),
        ({"RequirementsS3ObjectVersion": "v"}, ["RequirementsS3ObjectVersion", "set both or neither"]),
        ({"StartupScriptS3ObjectVersion": "v"}, ["StartupScriptS3ObjectVersion", "StartupScriptS3Path"]),
        ({"MaxWebservers": 6}, ["MaxWebservers: 6", "from 1 to 5"]),
        ({"Schedulers": -1}, ["Schedulers: -1", "from 1 to 5"]),
        ({"EnvironmentClass": "mw1.micro", "Schedulers": 2}, ["Schedulers: 2", "mw1.micro; it must be 1"]),
        ({"EnvironmentClass": "mw1.micro", "MinWebservers": 2}, ["MinWebservers: 2", "mw1.micro; it must be 1"]),
        ({"NetworkConfiguration": {}}, ["SubnetIds must be set", "SecurityGroupIds must be set"]),
        (
            {"NetworkConfiguration": {"SubnetIds": ["subnet-1"] * 2, "SecurityGroupIds": ["sg-1"]}},
            ["NetworkConfiguration: SubnetIds: subnet-1 is there twice", "different availability zones"],
        ),
        ({"AirflowConfigurationOptions": {"parallelism": "3"}}, ["parallelism is no option", "section.option"]),
        ({"AirflowConfigurationOptions": {"smtp.a.b": "1", "smtp.a_b": "2"}}, ["smtp.a.b and smtp.a_b are the same"]),
    ],
)
def test_every_refusal_names_the_field_and_the_fix(members: dict[str, Any], words: list[str]) -> None:
    message = refused(**members)
    for word in words:
        assert word in message


TEAM = {"SourceBucketArn": "arn:aws:s3:::teams", "DagS3Path": "dags/a"}
CENTER = {"StartUrl": "https://x.awsapps.com/start", "IdentityStoreId": "d-0123456789"}


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"Teams": {"alpha": TEAM}}, "set IdentityCenterConfiguration too"),
        ({"IdentityCenterConfiguration": {"StartUrl": "https://x"}}, "IdentityStoreId must be set"),
        ({"IdentityCenterConfiguration": {}}, "StartUrl and IdentityStoreId must be set"),
        ({"Teams": {"alpha": {**TEAM, "SourceBucketArn": "arn:aws:s3:::bucket"}}}, "environment itself and team alpha"),
        ({"Teams": {"a": TEAM, "b": {**TEAM, "DagS3Path": "/dags/a/"}}}, "team a and team b overlap"),
        ({"Teams": {"a": TEAM, "b": {**TEAM, "DagS3Path": "dags"}}}, "(teams/dags/a/, teams/dags/)"),
        ({"Teams": {"a": TEAM, "b": {**TEAM, "DagS3Path": ""}}}, "(teams/dags/a/, teams/)"),
    ],
)
def test_teams_and_identity_center_go_together(members: dict[str, Any], words: str) -> None:
    assert words in refused(**members)


def test_folders_beside_each_other_do_not_overlap() -> None:
    """What is left to say is that teams aren't there yet."""
    teams = {"a": TEAM, "b": {**TEAM, "DagS3Path": "dags/a-b"}, "c": {**TEAM, "DagS3Path": "dags/ab/"}}
    message = refused(Teams=teams, IdentityCenterConfiguration=CENTER)
    assert message == ("Invalid request provided: Teams: teams is not supported by Aerodrome yet; leave the field out.")


def test_the_form_of_teams_in_an_update_is_refused_too() -> None:
    assert "Teams: teams is not supported" in refused(Teams={"AddOrUpdate": {"a": TEAM}, "Remove": ["b"]})


@pytest.mark.parametrize("version", versions.VERSIONS)
@pytest.mark.parametrize("name", classes.CLASSES)
def test_every_class_of_every_version_can_be_had(name: str, version: str) -> None:
    for strict in (False, True):
        whole = accepted(strict=strict, EnvironmentClass=name, AirflowVersion=version)
        assert whole["MaxWorkers"] == (1 if name == "mw1.micro" else 10)


def test_a_refusal_lists_what_there_is() -> None:
    message = refused(AirflowVersion="1.10.12", EnvironmentClass="mw1.tiny")
    for known in (*versions.VERSIONS, *classes.CLASSES):
        assert known in message


@pytest.mark.parametrize(
    "option", ["core.executor", "core.load.examples", "fab.auth.role.public", "core.fernet.key_cmd", "api.secret.key"]
)
def test_an_option_of_ours_is_refused_however_its_dots_are_set(option: str) -> None:
    """`section.a.b` and `section.a_b` are one variable to Airflow."""
    assert f"{option} is set by the service" in refused(AirflowConfigurationOptions={option: "x"})


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

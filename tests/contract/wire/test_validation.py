"""The model's constraints: what is inside passes, what is just outside fails and is named."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerodrome.errors import ApiError
from aerodrome.wire import Wire

NETWORK = {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
REQUIRED = {
    "Name": "sales",
    "ExecutionRoleArn": "arn:aws:iam::123456789012:role/mwaa",
    "SourceBucketArn": "arn:aws:s3:::bucket",
    "DagS3Path": "dags",
    "NetworkConfiguration": NETWORK,
}


def message(wire: Wire, operation: str = "CreateEnvironment", **params: Any) -> str:
    base = REQUIRED if operation == "CreateEnvironment" else {"Name": "sales"}
    with pytest.raises(ApiError) as caught:
        wire.validate(operation, {**base, **params})
    assert (caught.value.code, caught.value.status) == ("ValidationException", 400)
    return caught.value.message


def test_the_message_has_the_form_of_aws(wire: Wire) -> None:
    assert message(wire, Name="1 a") == (
        "1 validation error detected: Value '1 a' at 'name' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [a-zA-Z][0-9a-zA-Z-_]*"
    )
    assert message(wire, DagS3Path=None, MaxWorkers=0) == (
        "2 validation errors detected: Value null at 'dagS3Path' failed to satisfy constraint: "
        "Member must not be null; "
        "Value '0' at 'maxWorkers' failed to satisfy constraint: Member must have value greater than or equal to 1"
    )


@pytest.mark.parametrize(
    ("params", "path", "rule"),
    [
        ({"EnvironmentClass": ""}, "environmentClass", "greater than or equal to 1"),
        ({"Name": "a" * 81}, "name", "less than or equal to 80"),
        ({"Name": "sales\n"}, "name", "pattern"),
        ({"ExecutionRoleArn": "arn:aws:iam::١٢٣٤٥٦٧٨٩٠١٢:role/x"}, "executionRoleArn", "pattern"),
        ({"DagS3Path": "a" * 1025}, "dagS3Path", "less than or equal to 1024"),
        ({"DagS3Path": "a\nb"}, "dagS3Path", "pattern: .*"),
        ({"DagS3Path": "a\0b"}, "dagS3Path", "null character"),
        ({"MinWorkers": 0}, "minWorkers", "greater than or equal to 1"),
        ({"Schedulers": 6}, "schedulers", "less than or equal to 5"),
        ({"MaxWorkers": True}, "maxWorkers", "type integer"),
        ({"MaxWorkers": "3"}, "maxWorkers", "type integer"),
        ({"Tags": []}, "tags", "type map"),
        (
            {"WebserverAccessMode": "public_only"},
            "webserverAccessMode",
            "PRIVATE_ONLY, PUBLIC_ONLY, PUBLIC_AND_PRIVATE",
        ),
        (
            {"NetworkConfiguration": {**NETWORK, "SubnetIds": ["subnet-1"]}},
            "networkConfiguration.subnetIds",
            "equal to 2",
        ),
        (
            {"NetworkConfiguration": {**NETWORK, "SubnetIds": ["subnet-1"] * 3}},
            "networkConfiguration.subnetIds",
            "less than or equal to 2",
        ),
        (
            {"NetworkConfiguration": {**NETWORK, "SecurityGroupIds": ["sg-1", "x"]}},
            "networkConfiguration.securityGroupIds.2.member",
            "pattern: sg-",
        ),
        ({"LoggingConfiguration": {"TaskLogs": {"Enabled": True}}}, "loggingConfiguration.taskLogs.logLevel", "null"),
        (
            {"LoggingConfiguration": {"TaskLogs": {"Enabled": True, "LogLevel": "TRACE"}}},
            "loggingConfiguration.taskLogs.logLevel",
            "CRITICAL",
        ),
        ({"Tags": {}}, "tags", "greater than or equal to 1"),
        ({"Tags": {f"k{n}": "v" for n in range(51)}}, "tags", "less than or equal to 50"),
        ({"Tags": {"a!": "b"}}, "tags", "Map keys must satisfy constraint: [Member must satisfy"),
        ({"Tags": {"a": ""}}, "tags.a.member", "greater than or equal to 1"),
        ({"Tags": {"a": "b" * 257}}, "tags.a.member", "less than or equal to 256"),
        ({"Teams": {"alpha": {"DagS3Path": "x"}}}, "teams.alpha.member.sourceBucketArn", "null"),
        ({"Teams": {"ab": {"DagS3Path": "x", "SourceBucketArn": "arn:aws:s3:::b"}}}, "teams", "Map keys"),
        ({"WeeklyMaintenanceWindowStart": "MON:03:15"}, "weeklyMaintenanceWindowStart", "pattern"),
        ({"KmsKey": "nonsense"}, "kmsKey", "pattern"),
    ],
)
def test_a_violation_is_named_with_its_rule(wire: Wire, params: dict[str, Any], path: str, rule: str) -> None:
    found = message(wire, **params)
    assert found.startswith("1 validation error detected: Value ")
    assert f"at '{path}' failed to satisfy constraint: " in found
    assert rule in found.partition("constraint: ")[2]


@pytest.mark.parametrize(
    "params",
    [
        {"Tags": {"Größe /=+-@:._": "文 ٣"}},
        {"AirflowConfigurationOptions": {}},
        {"AirflowConfigurationOptions": {"core.x": "~" * 65536}},
        {"DagS3Path": ""},
        {"PluginsS3ObjectVersion": ""},
        {"Schedulers": 5},
        {"WeeklyMaintenanceWindowStart": "SUN:23:30"},
        {"KmsKey": "arn:aws:kms:eu-west-1:123456789012:key/12345678-1234-1234-1234-123456789012"},
        {"IdentityCenterConfiguration": {"StartUrl": "https://x", "IdentityStoreId": "d-0123456789"}},
        {"LoggingConfiguration": {}},
    ],
)
def test_what_is_legal_passes(wire: Wire, params: dict[str, Any]) -> None:
    wire.validate("CreateEnvironment", {**REQUIRED, **params})


def test_all_failures_are_listed(wire: Wire) -> None:
    with pytest.raises(ApiError) as caught:
        wire.validate("CreateEnvironment", {"Name": "9", "Tags": {"a!": "", "b!": "c"}})
    found = caught.value.message
    assert found.startswith("8 validation errors detected: ")
    for path in ("name", "executionRoleArn", "sourceBucketArn", "dagS3Path", "networkConfiguration"):
        assert f"'{path}'" in found
    assert found.count("Map keys") == 2


def test_a_flood_of_failures_is_counted_and_cut(wire: Wire) -> None:
    found = message(wire, "PublishMetrics", EnvironmentName="x", MetricData=[{}] * 1000)
    assert found.startswith("2000 validation errors detected")
    assert found.endswith("; and 1950 more")


def test_sensitive_values_are_never_repeated(wire: Wire) -> None:
    options = {"core.fernet_key": "hush-ü", "Hush-Key": "fine", "smtp.x": "", "y": "hush" * 20000}
    found = message(wire, AirflowConfigurationOptions=options)
    assert "5 validation errors" in found
    assert "hush" not in found.lower()
    assert "'airflowConfigurationOptions.core.fernet_key.member'" in found


def test_other_values_are_repeated_in_part(wire: Wire) -> None:
    found = message(wire, EnvironmentClass="x" * 5000)
    assert "'xxx" in found
    assert len(found) < 500


def test_a_long_near_miss_takes_no_time(wire: Wire) -> None:
    started = time.perf_counter()
    message(wire, AirflowConfigurationOptions={"a" * 1_000_000 + "!": "x"})
    assert time.perf_counter() - started < 1


_BOUNDS = [
    ("ListEnvironments", "MaxResults", "value", 1, 25),
    ("ListEnvironments", "NextToken", "length", 0, 2048),
    ("CreateEnvironment", "EnvironmentClass", "length", 1, 1024),
    ("CreateEnvironment", "DagS3Path", "length", 0, 1024),
    ("CreateEnvironment", "AirflowVersion", "length", 1, 32),
    ("UpdateEnvironment", "PluginsS3ObjectVersion", "length", 0, 1024),
]


@pytest.mark.parametrize(("operation", "member", "word", "least", "most"), _BOUNDS)
def test_bounds_are_exact(wire: Wire, operation: str, member: str, word: str, least: int, most: int) -> None:
    base = {"CreateEnvironment": REQUIRED, "UpdateEnvironment": {"Name": "x"}}.get(operation, {})

    @settings(max_examples=30, deadline=None, database=None)
    @given(st.sampled_from([least - 1, least, least + 1, most - 1, most, most + 1]) | st.integers(least - 3, most + 3))
    def check(size: int) -> None:
        if word == "length" and size < 0:
            return
        params = {**base, member: size if word == "value" else "a" * size}
        if least <= size <= most:
            wire.validate(operation, params)
            return
        with pytest.raises(ApiError) as caught:
            wire.validate(operation, params)
        limit = f"less than or equal to {most}" if size > most else f"greater than or equal to {least}"
        name = member[0].lower() + member[1:]
        assert f"at '{name}' failed to satisfy constraint: Member must have {word} {limit}" in caught.value.message

    check()


@settings(max_examples=100, deadline=None, database=None)
@given(st.text(max_size=10))
def test_a_name_passes_exactly_when_it_has_the_form(text: str) -> None:
    legal = re.fullmatch(r"[a-zA-Z][0-9a-zA-Z\-_]{0,79}", text) is not None
    if legal:
        _WIRE.validate("GetEnvironment", {"Name": text})
        return
    with pytest.raises(ApiError, match="at 'name'"):
        _WIRE.validate("GetEnvironment", {"Name": text})


_WIRE = Wire("mwaa")

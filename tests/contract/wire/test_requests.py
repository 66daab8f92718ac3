"""What botocore's client sends, our parser reads back: for every operation, by hand and generated from the model."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore import xform_name
from hypothesis import HealthCheck, given, settings

from aerodrome.errors import ApiError
from aerodrome.wire import Wire
from support.shapes import generated

ARN = "arn:aws:airflow:eu-west-1:123456789012:environment/a-b_c"
CREATE = {
    "Name": "sales",
    "ExecutionRoleArn": "arn:aws:iam::123456789012:role/service-role/mwaa",
    "SourceBucketArn": "arn:aws:s3:::my.bucket-1",
    "DagS3Path": "dags/é ü",
    "NetworkConfiguration": {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]},
    "AirflowConfigurationOptions": {"core.parallelism": "32", "celery.x_y": "~ \"'%"},
    "LoggingConfiguration": {"TaskLogs": {"Enabled": False, "LogLevel": "INFO"}},
    "MaxWorkers": 7,
    "Tags": {"Team /=+-@": "Größe : 1"},
    "Teams": {"alpha": {"SourceBucketArn": "arn:aws:s3:::b", "DagS3Path": "dags"}},
}
SAMPLES: list[tuple[str, dict[str, Any]]] = [
    ("CreateEnvironment", CREATE),
    ("CreateEnvironment", {name: CREATE[name] for name in list(CREATE)[:5]}),
    ("GetEnvironment", {"Name": "a-b_C9"}),
    ("ListEnvironments", {}),
    ("ListEnvironments", {"MaxResults": 25, "NextToken": "a+b/c=&? ü%2F"}),
    ("UpdateEnvironment", {"Name": "x"}),
    ("UpdateEnvironment", {"Name": "x", "Teams": {"Remove": ["alpha"]}, "WorkerReplacementStrategy": "GRACEFUL"}),
    ("DeleteEnvironment", {"Name": "x"}),
    ("TagResource", {"ResourceArn": ARN, "Tags": {"a": "b"}}),
    ("UntagResource", {"ResourceArn": ARN, "tagKeys": ["a b+c", "ü", "x=y"]}),
    ("UntagResource", {"ResourceArn": ARN, "tagKeys": ["one"]}),
    ("ListTagsForResource", {"ResourceArn": ARN}),
    ("CreateCliToken", {"Name": "x"}),
    ("CreateWebLoginToken", {"Name": "x"}),
    ("InvokeRestApi", {"Name": "x", "Path": "/dags", "Method": "GET"}),
    (
        "InvokeRestApi",
        {"Name": "x", "Path": "/d", "Method": "POST", "QueryParameters": {"limit": 5}, "Body": {"a": [1, None, {}]}},
    ),
    (
        "PublishMetrics",
        {
            "EnvironmentName": "x",
            "MetricData": [
                {
                    "MetricName": "m",
                    "Timestamp": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
                    "Value": 1.5,
                    "StatisticValues": {"SampleCount": 3, "Sum": 4.0},
                    "Dimensions": [{"Name": "a", "Value": "b"}],
                }
            ],
        },
    ),
]


def test_every_operation_has_a_sample(wire: Wire) -> None:
    assert {operation for operation, _ in SAMPLES} == set(wire.operations)
    assert len(wire.operations) == 12


@pytest.mark.parametrize(("operation", "params"), SAMPLES)
def test_parse_returns_what_the_client_was_given(
    client: Any, exchange: Any, wire: Wire, operation: str, params: dict[str, Any]
) -> None:
    exchange.answer = {}
    getattr(client, xform_name(operation))(**params)
    assert exchange.match.operation == operation
    assert exchange.params == params
    wire.validate(operation, exchange.params)


@pytest.mark.parametrize("operation", sorted({operation for operation, _ in SAMPLES}))
def test_parse_returns_whatever_legal_parameters_the_client_was_given(
    client: Any, exchange: Any, wire: Wire, operation: str
) -> None:
    shape = client.meta.service_model.operation_model(operation).input_shape
    exchange.answer = {}

    @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(generated(shape))
    def check(params: dict[str, Any]) -> None:
        getattr(client, xform_name(operation))(**params)
        assert exchange.match.operation == operation
        # An empty list in a query is nothing on the wire.
        expected = {name: value for name, value in params.items() if not (name == "tagKeys" and value == [])}
        assert exchange.params == expected
        if expected == params:
            wire.validate(operation, exchange.params)

    check()


@pytest.mark.parametrize(
    "path",
    [
        ARN,
        ARN.replace(":", "%3A").replace("/", "%2F"),
        ARN.replace(":", "%3a").replace("/", "%2f"),
        ARN.replace("/", "%2F"),
    ],
)
def test_a_resource_arn_is_taken_whole_encoded_or_not(wire: Wire, path: str) -> None:
    for method, operation in [("GET", "ListTagsForResource"), ("POST", "TagResource"), ("DELETE", "UntagResource")]:
        match = wire.match(method, f"/tags/{path}".encode())
        assert match.operation == operation
        assert match.labels == {"ResourceArn": ARN}


def test_a_label_is_decoded_once_and_never_split(wire: Wire) -> None:
    assert wire.match("GET", b"/environments/a%252Fb").labels == {"Name": "a%2Fb"}
    assert wire.match("GET", b"/environments/a%2Fb").labels == {"Name": "a/b"}
    assert wire.match("GET", "/environments/%C3%BC").labels == {"Name": "ü"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/environments/", 404),
        ("GET", "//environments", 404),
        ("GET", "/environments/a/b", 404),
        ("GET", "/Environments", 404),
        ("GET", "/tags/", 404),
        ("POST", "/environments", 405),
        ("HEAD", "/environments/x", 405),
        ("PUT", "/tags/x", 405),
        ("GET", "/clitoken/x", 405),
    ],
)
def test_what_is_no_operation_is_refused(wire: Wire, method: str, path: str, status: int) -> None:
    with pytest.raises(ApiError) as caught:
        wire.match(method, path)
    assert (caught.value.code, caught.value.status) == ("UnknownOperationException", status)


def test_a_label_that_is_not_utf8_is_refused(wire: Wire) -> None:
    with pytest.raises(ApiError, match="UTF-8") as caught:
        wire.match("GET", b"/environments/%ff")
    assert (caught.value.code, caught.value.status) == ("SerializationException", 400)


def parse(wire: Wire, method: str, path: str, query: str = "", body: bytes = b"") -> dict[str, Any]:
    return wire.parse(wire.match(method, path), query, {"content-type": "text/plain"}, body)


@pytest.mark.parametrize(
    "body",
    [
        b"{[",
        b'{"MaxWorkers": 1}abc',
        b'{"MaxWorkers": 1,}',
        b"{'MaxWorkers': 1}",
        b"[1]",
        b"10",
        b"null",
        b'"text"',
        b'{"MaxWorkers": "1"}',
        b'{"MaxWorkers": true}',
        b'{"MaxWorkers": 1.5}',
        b'{"MaxWorkers": 1.0}',
        b'{"MaxWorkers": NaN}',
        b'{"MaxWorkers": 9223372000000000000}',
        b'{"MaxWorkers": ' + b"9" * 5000 + b"}",
        b'{"MaxWorkers": {}}',
        b'{"DagS3Path": 1}',
        b'{"DagS3Path": ["a"]}',
        b'{"DagS3Path": "\\ud800"}',
        b'{"DagS3Path": "\xff"}',
        b"\xff\xfe{\x00}\x00",
        b'{"AirflowConfigurationOptions": {"a": null}}',
        b'{"AirflowConfigurationOptions": {"a": 1}}',
        b'{"AirflowConfigurationOptions": []}',
        b'{"LoggingConfiguration": {"TaskLogs": {"Enabled": "true"}}}',
        b'{"LoggingConfiguration": {"TaskLogs": {"Enabled": 1}}}',
        b'{"NetworkConfiguration": {"SecurityGroupIds": ["a", null]}}',
        b'{"NetworkConfiguration": {"SecurityGroupIds": "sg-1"}}',
        b'{"a":' * 100_000,
        b'{"Body": ' + b"[" * 201 + b"]" * 201 + b"}",
        b'{"Body": {"x": 1e999}}',
        b'{"Body": {"x": -1e999}}',
        b'{"Body": Infinity}',
    ],
)
def test_a_body_that_cannot_be_read_is_a_serialization_error(wire: Wire, body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        parse(wire, "PATCH", "/environments/x", body=body)
    assert (caught.value.code, caught.value.status) == ("SerializationException", 400)


def test_a_serialization_error_names_the_member(wire: Wire) -> None:
    with pytest.raises(ApiError) as caught:
        parse(wire, "PATCH", "/environments/x", body=b'{"LoggingConfiguration":{"TaskLogs":{"Enabled":"x"}}}')
    assert caught.value.message == (
        "STRING_VALUE can not be converted to a Boolean at 'loggingConfiguration.taskLogs.enabled'"
    )


@pytest.mark.parametrize("stamp", [b'"2026-01-01T00:00:00Z"', b"true", b'"1"', b"1e300", b"{}"])
def test_a_timestamp_is_a_number_of_seconds(wire: Wire, stamp: bytes) -> None:
    body = b'{"MetricData":[{"MetricName":"m","Timestamp":%s}]}' % stamp
    with pytest.raises(ApiError, match=r"metricData\.1\.member\.timestamp") as caught:
        parse(wire, "POST", "/metrics/environments/x", body=body)
    assert caught.value.code == "SerializationException"


@pytest.mark.parametrize("text", ["", "ten", "1.5", "0x1", "true", "9" * 30, "1_0", "٣", "%D9%A3"])
def test_a_query_number_is_a_number(wire: Wire, text: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse(wire, "GET", "/environments", f"MaxResults={text}")
    assert caught.value.code == "SerializationException"


def test_unknown_and_null_members_are_dropped_and_any_content_type_is_read(wire: Wire) -> None:
    body = b' {"DagS3Path": "dags", "Nope": {"a": [1]}, "MaxWorkers": null, "Name": "other"} '
    assert parse(wire, "PATCH", "/environments/x", "Also=1", body) == {"Name": "x", "DagS3Path": "dags"}


@pytest.mark.parametrize("body", [b"", b"  ", b"{}"])
def test_an_empty_body_is_an_empty_object(wire: Wire, body: bytes) -> None:
    assert parse(wire, "PATCH", "/environments/x", body=body) == {"Name": "x"}


@pytest.mark.parametrize("body", [b"", b"{}", b"not json", b"[]"])
def test_the_body_of_an_operation_without_one_is_not_read(wire: Wire, body: bytes) -> None:
    assert parse(wire, "POST", "/clitoken/x", body=body) == {"Name": "x"}


def test_of_a_key_that_comes_twice_the_last_counts(wire: Wire) -> None:
    body = b'{"DagS3Path": "a", "MaxWorkers": 1, "DagS3Path": "b"}'
    assert parse(wire, "PATCH", "/environments/x", body=body)["DagS3Path"] == "b"


def test_numbers_that_a_double_holds_and_200_levels_pass(wire: Wire) -> None:
    deep = b"[" * 199 + b"1.5e300" + b"]" * 199
    found = parse(wire, "POST", "/restapi/x", body=b'{"Path":"/p","Method":"POST","Body":%s}' % deep)
    assert json.dumps(found["Body"]) == "[" * 199 + "1.5e+300" + "]" * 199


@pytest.mark.parametrize("document", [b"{}", b"[1,2]", b'"text"', b"3", b"false"])
def test_a_document_is_any_json(wire: Wire, document: bytes) -> None:
    found = parse(wire, "POST", "/restapi/x", body=b'{"Path":"/p","Method":"POST","Body":%s}' % document)
    assert found["Body"] == json.loads(document)
    wire.validate("InvokeRestApi", found)


def test_what_is_read_twice_is_nobodys_to_change() -> None:
    wire = Wire("mwaa")
    request = ("GET", b"/environments", b"MaxResults=5", [(b"host", b"x")], b"")
    match, params = wire.read(*request)
    assert (match.operation, params) == ("ListEnvironments", {"MaxResults": 5})
    params["MaxResults"] = 1
    assert wire.read(*request)[1] == {"MaxResults": 5}
    assert wire.read("GET", b"/environments", b"MaxResults=6", [], b"")[1] == {"MaxResults": 6}
    assert wire.read("GET", b"/environments/a", b"", [], b"")[1] == {"Name": "a"}
    for _ in range(2):
        with pytest.raises(ApiError, match="validation error"):
            wire.read("GET", b"/environments", b"MaxResults=0", [], b"")


def test_a_service_that_reads_headers_has_them_read_each_time() -> None:
    wire = Wire("lambda")
    path = b"/2015-03-31/functions/f/invocations"
    for kind in ("Event", "DryRun"):
        match, params = wire.read("POST", path, b"", [(b"X-Amz-Invocation-Type", kind.encode())], b"")
        assert (match.operation, params["InvocationType"]) == ("Invoke", kind)

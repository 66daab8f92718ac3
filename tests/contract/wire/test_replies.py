"""What we answer, botocore's parser reads: outputs to the same dict, errors to the right exception class."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from aerodrome.errors import ApiError, access_denied, not_found, validation_error
from aerodrome.wire import Wire

ENVIRONMENT = {
    "Name": "sales",
    "Status": "AVAILABLE",
    "Arn": "arn:aws:airflow:eu-west-1:123456789012:environment/sales",
    "CreatedAt": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "WebserverUrl": "x.airflow.localhost",
    "AirflowConfigurationOptions": {"core.x": "Größe"},
    "MaxWorkers": 10,
    "NetworkConfiguration": {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": []},
    "LoggingConfiguration": {"TaskLogs": {"Enabled": False, "LogLevel": "INFO"}},
    "LastUpdate": {
        "Status": "FAILED",
        "CreatedAt": datetime(2026, 1, 2, 3, 4, 5, 123000, tzinfo=UTC),
        "Error": {"ErrorCode": "X", "ErrorMessage": "m"},
    },
    "Tags": {},
}
OUTPUTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("create_environment", {"Name": "sales"}, {"Arn": "arn:x"}),
    ("get_environment", {"Name": "sales"}, {"Environment": ENVIRONMENT}),
    ("list_environments", {}, {"Environments": ["a", "b"], "NextToken": "t"}),
    ("list_environments", {}, {"Environments": []}),
    ("update_environment", {"Name": "x"}, {"Arn": "arn:x"}),
    ("delete_environment", {"Name": "x"}, {}),
    ("tag_resource", {"ResourceArn": "x", "Tags": {"a": "b"}}, {}),
    ("untag_resource", {"ResourceArn": "x", "tagKeys": ["a"]}, {}),
    ("list_tags_for_resource", {"ResourceArn": "x"}, {"Tags": {"a": "ü"}}),
    ("create_cli_token", {"Name": "x"}, {"CliToken": "t", "WebServerHostname": "h"}),
    ("create_web_login_token", {"Name": "x"}, {"WebToken": "t", "IamIdentity": "user/a", "AirflowIdentity": "a"}),
    (
        "invoke_rest_api",
        {"Name": "x", "Path": "/", "Method": "GET"},
        {"RestApiStatusCode": 200, "RestApiResponse": {"a": [1, None, {"b": 1.5}]}},
    ),
    ("publish_metrics", {"EnvironmentName": "x", "MetricData": []}, {}),
]


@pytest.fixture(scope="module")
def lax_client(exchange: Any) -> Any:
    """Sends what we say, unchecked: these tests are about the answers."""
    return exchange.client("mwaa", parameter_validation=False)


@pytest.mark.parametrize(("method", "params", "output"), OUTPUTS)
def test_the_client_reads_what_we_put_out(
    lax_client: Any, exchange: Any, method: str, params: dict[str, Any], output: dict[str, Any]
) -> None:
    exchange.answer = output
    found = getattr(lax_client, method)(**params)
    metadata = found.pop("ResponseMetadata")
    assert found == output
    assert metadata["HTTPStatusCode"] == 200
    assert metadata["RequestId"] == "request-1"


def test_every_operation_is_answered_here(wire: Wire, client: Any) -> None:
    assert {client.meta.method_to_api_mapping[method] for method, _, _ in OUTPUTS} == set(wire.operations)


def test_timestamps_are_epoch_seconds_and_none_is_left_out(wire: Wire) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    update = {"CreatedAt": moment.replace(microsecond=250_400), "Error": None}
    reply = wire.serialise(
        "GetEnvironment", {"Environment": {"CreatedAt": moment, "KmsKey": None, "LastUpdate": update}}
    )
    assert json.loads(reply.body) == {
        "Environment": {"CreatedAt": moment.timestamp(), "LastUpdate": {"CreatedAt": moment.timestamp() + 0.25}}
    }
    assert b"1767323045," in reply.body
    assert reply.headers["content-type"] == "application/json"


def test_a_member_the_model_does_not_know_is_our_mistake(wire: Wire) -> None:
    with pytest.raises(ValueError, match="Environment has no member Nmae"):
        wire.serialise("GetEnvironment", {"Environment": {"Nmae": "x"}})
    with pytest.raises(ValueError, match="JSON"):
        wire.serialise("InvokeRestApi", {"RestApiResponse": {"a": math.nan}})


ERRORS = [
    (not_found("no such"), "ResourceNotFoundException", 404, "message"),
    (validation_error("bad ü"), "ValidationException", 400, "message"),
    (access_denied("User: x is not"), "AccessDeniedException", 403, "Message"),
    (ApiError("InternalServerException", "oh", 500), "InternalServerException", 500, "message"),
    (ApiError("ServiceUnavailableException", "later", 503), "ServiceUnavailableException", 503, "message"),
]


@pytest.mark.parametrize(("error", "code", "status", "spelling"), ERRORS)
def test_a_modelled_error_is_its_own_exception(
    client: Any, exchange: Any, wire: Wire, error: ApiError, code: str, status: int, spelling: str
) -> None:
    exchange.answer = error
    with pytest.raises(getattr(client.exceptions, code)) as caught:
        client.create_web_login_token(Name="x")
    assert caught.value.response["Error"] == {"Code": code, "Message": error.message}
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert caught.value.response["ResponseMetadata"]["RequestId"] == "request-1"
    assert json.loads(wire.error(error, "request-1").body) == {spelling: error.message}


@pytest.mark.parametrize("code", ["RestApiClientException", "RestApiServerException"])
def test_a_rest_api_error_has_its_members_and_a_message(client: Any, exchange: Any, code: str) -> None:
    members = {"RestApiStatusCode": 404, "RestApiResponse": {"detail": "no DAG", "n": [1]}, "Else": 1}
    exchange.answer = ApiError(code, "Airflow answered 404: no DAG", 502, members)
    with pytest.raises(getattr(client.exceptions, code)) as caught:
        client.invoke_rest_api(Name="x", Path="/dags/a", Method="GET")
    response = caught.value.response
    assert response["Error"] == {"Code": code, "Message": "Airflow answered 404: no DAG"}
    assert response["RestApiStatusCode"] == 404
    assert response["RestApiResponse"] == {"detail": "no DAG", "n": [1]}
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert "Else" not in response


@pytest.mark.parametrize(
    ("code", "status"),
    [("MissingAuthenticationToken", 403), ("SerializationException", 400), ("UnknownOperationException", 404)],
)
def test_an_unmodelled_error_keeps_code_status_and_message(client: Any, exchange: Any, code: str, status: int) -> None:
    exchange.answer = ApiError(code, "why", status)
    with pytest.raises(ClientError) as caught:
        client.get_environment(Name="x")
    assert caught.value.response["Error"] == {"Code": code, "Message": "why"}
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_another_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match="rest-json"):
        Wire("logs")


def test_other_services_places_are_read_and_written() -> None:
    """Lambda has what MWAA hasn't: headers, a blob payload, a status code in the output."""
    wire = Wire("lambda")
    match = wire.match("POST", "/2015-03-31/functions/f/invocations", "Qualifier=v1")
    assert match.operation == "Invoke"
    params = wire.parse(match, "Qualifier=v1", {"X-Amz-Invocation-Type": "Event"}, b"\x00raw")
    assert params == {"FunctionName": "f", "Qualifier": "v1", "InvocationType": "Event", "Payload": b"\x00raw"}
    reply = wire.serialise("Invoke", {"StatusCode": 202, "Payload": b"out", "FunctionError": "Handled"})
    assert (reply.status, reply.body) == (202, b"out")
    assert reply.headers["X-Amz-Function-Error"] == "Handled"

"""The arguments of `aerodrome env …`, and what it says when nothing can be done."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.session import Session
from botocore.validate import ParamValidator
from typer.testing import CliRunner

from aerodrome.cli import env
from aerodrome.cli.connection import Connection, connect, describe
from aerodrome.cli.env import creation_members, env_app, flat
from aerodrome.cli.webserver import CommandOutput
from aerodrome.errors import Permanent
from aerodrome.machineroom.installation import Installation

RUNNER = CliRunner()


def run(*arguments: str) -> tuple[int, str, BaseException | None]:
    result = RUNNER.invoke(env_app, list(arguments))
    return result.exit_code, result.output, result.exception


@pytest.mark.parametrize("command", ["create", "show", "update", "delete", "open", "cli", "events"])
def test_every_command_needs_a_name(command: str) -> None:
    code, text, _ = run(command)
    assert code == 2
    assert "{name}" in text


@pytest.mark.parametrize("command", ["create", "list", "show", "update", "delete", "open", "cli", "events"])
def test_every_command_explains_itself(command: str) -> None:
    code, text, _ = run(command, "--help")
    assert code == 0
    assert "--region" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("show", "x"),
        ("delete", "x"),
        ("update", "x"),
        ("create", "x"),
        ("open", "x"),
        ("events", "x"),
        ("cli", "x", "version"),
    ],
)
def test_without_an_installation_it_says_what_to_do(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AERODROME_HOME", str(tmp_path / "nothing"))
    code, _, error = run(*arguments)
    assert code == 1
    assert isinstance(error, Permanent)
    assert "Run `aerodrome up` first" in str(error)


@pytest.mark.parametrize("arguments", [("list",), ("events", "x")])
def test_when_it_is_down_it_says_so(
    arguments: tuple[str, ...], installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    code, _, error = run(*arguments)
    assert code == 1
    assert isinstance(error, Permanent)
    assert f"Nothing answers at {installation.endpoint}" in str(error)
    assert "aerodrome up" in str(error)


def test_a_users_profile_and_proxy_are_about_other_endpoints(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere.invalid")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    client = connect().client("mwaa")
    assert client.meta.endpoint_url == installation.endpoint
    assert client.meta.config.proxies == {}
    assert client._request_signer._credentials.access_key == "AKIATEST"


def test_the_region_is_the_option_then_the_setting_then_the_installations(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connect().region == "us-east-1"
    monkeypatch.setenv("AERODROME_REGION", "eu-west-1")
    assert connect().region == "eu-west-1"
    assert connect("ap-south-1").region == "ap-south-1"


def test_the_members_of_a_create_fit_the_apis_own_model(installation: Installation) -> None:
    loader: Loader = Session().get_component("data_loader")
    shape = (
        ServiceModel(loader.load_service_model("mwaa", "service-2")).operation_model("CreateEnvironment").input_shape
    )
    assert shape is not None
    role = "arn:aws:iam::100000000001:role/r"
    members = creation_members(connect(), "demo", "my-bucket", "dags", role, "mw1.small", "3.3.1")
    report = ParamValidator().validate(members, shape)
    assert not report.has_errors(), report.generate_report()
    assert set(shape.required_members) <= members.keys()
    assert members["EnvironmentClass"] == "mw1.small"
    assert "AirflowVersion" not in creation_members(connect(), "demo", "my-bucket", "dags", role)


def test_an_aws_error_is_one_line_with_its_code() -> None:
    error = ClientError({"Error": {"Code": "ValidationException", "Message": "No such class."}}, "CreateEnvironment")
    assert describe(error) == "ValidationException: No such class."


def test_an_error_of_airflow_itself_is_told() -> None:
    response = {
        "Error": {"Code": "RestApiClientException", "Message": ""},
        "RestApiStatusCode": 404,
        "RestApiResponse": {"detail": "DAG not found"},
    }
    error = ClientError(response, "InvokeRestApi")  # type: ignore[arg-type]
    assert describe(error) == 'RestApiClientException: Airflow answered 404: {"detail": "DAG not found"}'


def test_nested_members_are_flat_rows() -> None:
    rows = flat({"Name": "x", "LastUpdate": {"Status": "FAILED", "Error": {"ErrorCode": "E"}}, "Ids": ["a", "b"]})
    assert rows == [
        ("Name", "x"),
        ("LastUpdate.Status", "FAILED"),
        ("LastUpdate.Error.ErrorCode", "E"),
        ("Ids", "a, b"),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo", "--", "dags", "list", "-o", "json"),
        ("demo", "dags", "list", "-o", "json"),
        ("demo", "--region", "us-east-1", "--", "dags", "list", "-o", "json"),
        ("--region", "us-east-1", "demo", "--", "dags", "list", "-o", "json"),
    ],
)
def test_airflows_own_options_reach_airflow(
    arguments: tuple[str, ...], installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def run_command(connection: Connection, name: str, words: list[str]) -> CommandOutput:
        asked.append((connection.region, name, words))
        return CommandOutput(3, b"out\n", b"err\n")

    monkeypatch.setattr(env, "run_command", run_command)
    result = RUNNER.invoke(env_app, ["cli", *arguments])
    assert asked == [("us-east-1", "demo", ["dags", "list", "-o", "json"])]
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_an_option_without_a_value_is_a_wrong_usage() -> None:
    code, text, _ = run("update", "x", "--option", "core.parallelism")
    assert code == 2
    assert "core.parallelism" in text

"""Clients take what they are given and look nowhere else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from aerodrome.aws.clients import AwsClients
from aerodrome.domain.principal import Credentials

CREDENTIALS = Credentials("AKIAGIVEN0000000000A", "given-secret", "given-token", datetime(2030, 1, 1, tzinfo=UTC))


@pytest.fixture
def litter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Everything that botocore would otherwise listen to."""
    (tmp_path / "config").write_text("[default]\nregion = eu-south-1\nendpoint_url = http://file.invalid\n")
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = FILE\naws_secret_access_key = file\n")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "LITTER",
        "AWS_SECRET_ACCESS_KEY": "litter",
        "AWS_SESSION_TOKEN": "litter",
        "AWS_DEFAULT_REGION": "ap-south-1",
        "AWS_REGION": "ap-south-1",
        "AWS_PROFILE": "no-such-profile",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_ENDPOINT_URL": "http://environment.invalid",
        "AWS_ENDPOINT_URL_S3": "http://environment.invalid",
        "AWS_CA_BUNDLE": "/no/such/file",
        "HTTP_PROXY": "http://proxy.invalid:1",
        "HTTPS_PROXY": "http://proxy.invalid:1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("litter")
def test_nothing_comes_from_the_environment() -> None:
    client = AwsClients({}).client("s3", "us-west-2", CREDENTIALS)
    assert client.meta.endpoint_url == "https://s3.us-west-2.amazonaws.com"
    assert client.meta.region_name == "us-west-2"
    assert client._request_signer._credentials.access_key == "AKIAGIVEN0000000000A"
    client.close()


@pytest.mark.usefixtures("litter")
def test_without_credentials_nothing_is_signed() -> None:
    client = AwsClients({"s3": "http://127.0.0.1:1"}).client("s3", "us-west-2", None)
    assert "Signature" not in client.generate_presigned_url("list_buckets")
    client.close()


@pytest.mark.parametrize(
    ("service", "url"),
    [
        ("s3", "http://s3.test"),
        ("secretsmanager", "http://secrets.test"),
        ("logs", "http://logs.test"),
        ("sqs", "http://rest.test"),
    ],
)
@pytest.mark.usefixtures("litter")
def test_endpoints_by_any_of_their_names(service: str, url: str) -> None:
    endpoints = {"S3": "http://s3.test", "SECRETS_MANAGER": "http://secrets.test", "logs": "http://logs.test"}
    clients = AwsClients({**endpoints, "": "http://rest.test"})
    client = clients.client(service, "eu-west-1", CREDENTIALS)
    assert client.meta.endpoint_url == clients.endpoint(service) == url
    client.close()


def test_no_endpoint_is_awss_own() -> None:
    assert AwsClients({"s3": "http://s3.test", "sts": ""}).endpoint("sts") is None


def test_hosts_get_no_prefix() -> None:
    client = AwsClients({"mwaa": "http://127.0.0.1:1"}).client("mwaa", "us-east-1", CREDENTIALS)
    assert client.meta.config.inject_host_prefix is False
    client.close()

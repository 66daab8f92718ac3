"""The bucket and role that the command line makes, in a real S3 and IAM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from aerodrome.cli import account, demo, demo_data
from aerodrome.cli.connection import Connection
from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation

if TYPE_CHECKING:
    from conftest import Aws

BUCKET = "aerodrome-demo-100000000001"


@pytest.fixture
def connection(aws: Aws, tmp_path: Path) -> Connection:
    installation = Installation(
        id="abc123",
        account="100000000001",
        region="us-east-1",
        front_port=urlsplit(aws.url).port or 0,
        gateway_port=1,
        postgres_port=2,
        valkey_port=3,
        cloud_port=4,
        web_host="address",
        postgres_password="p",
        valkey_password="v",
        admin_access_key=aws.admin.access_key_id,
        admin_secret_key=aws.admin.secret_access_key,
        supervisor_password="s",
    )
    return Connection(Layout(tmp_path), installation, "us-east-1")


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_a_bucket_is_private_versioned_and_made_once(connection: Connection, region: str) -> None:
    there = Connection(connection.layout, connection.installation, region)
    bucket = account.bucket_name(there, "made-once")
    assert account.ensure_bucket(there, bucket)
    assert not account.ensure_bucket(there, bucket)
    s3 = there.client("s3")
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())


def test_a_role_is_made_once_and_keeps_what_it_was_given_beyond(connection: Connection) -> None:
    extra = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/output/*"}
    first = account.ensure_role(connection, "execution-demo", "demo", "b", [extra])
    assert account.ensure_role(connection, "execution-demo", "demo", "b") == first
    assert first == "arn:aws:iam::100000000001:role/execution-demo"
    iam = connection.client("iam")
    policy = iam.get_role_policy(RoleName="execution-demo", PolicyName="extra")["PolicyDocument"]
    assert policy["Statement"] == [extra]
    assert sorted(iam.list_role_policies(RoleName="execution-demo")["PolicyNames"]) == ["execution", "extra"]
    assert iam.get_role(RoleName="execution-demo")["Role"]["AssumeRolePolicyDocument"] == account.trust_policy()


def test_the_demo_uploads_what_is_missing_or_wrong(connection: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    bucket = demo._upload(connection, "demo")
    assert bucket == BUCKET
    s3 = connection.client("s3")
    s3.put_object(Bucket=bucket, Key=demo.INPUT, Body=b"spoilt")
    demo._upload(connection, "demo")
    demo._upload(connection, "demo")
    told = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()]
    assert told == ["4 of 4 files uploaded", "1 of 4 files uploaded", "0 of 4 files uploaded"]
    assert s3.get_object(Bucket=bucket, Key=demo.INPUT)["Body"].read().decode() == demo_data.flights_csv()


def test_the_demo_finds_the_version_of_its_own_run(connection: Connection, admin: Any) -> None:
    bucket = demo._upload(connection, "demo")
    right = demo_data.expected_report(demo_data.flights_csv())

    def write(run_id: str, **more: object) -> str:
        body = json.dumps({**right, "run_id": run_id, **more}).encode()
        return str(admin.put_object(Bucket=bucket, Key=demo.OUTPUT, Body=body)["VersionId"])

    write("earlier")
    before = demo._versions(admin, bucket)
    mine = write("mine")
    write("somebody-elses")
    assert demo._checked(admin, bucket, before, "mine").version == mine
    write("wrong", passengers=1)
    for run_id, complaint in (("wrong", "passengers is 1, not"), ("earlier", "no new version"), ("none", "no new")):
        with pytest.raises(demo.Permanent, match=complaint):
            demo._checked(admin, bucket, before, run_id)

"""The real embedded cloud with its access control, and an execution role to read its S3 with."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from aerodrome.aws.clients import AwsClients
from aerodrome.aws.cloud import CloudSocket
from aerodrome.aws.install import Cloud, CloudSpec, ensure_cloud
from aerodrome.domain.principal import Credentials
from support.homes import home_with_key

REPOSITORY = Path(__file__).parents[3]
UV = Path(sys.executable).with_name("uv")
ACCOUNT, REGION = "100000000001", "us-east-1"
ADMIN_KEY, ADMIN_SECRET = "AKIAADMINISTRATOR001", "administrator-secret-0123456789abcdef"
READ = {"Effect": "Allow", "Action": ["s3:GetObject*", "s3:GetBucket*", "s3:List*"], "Resource": "*"}


@dataclass(frozen=True)
class Aws:
    """A running cloud as its administrator sees it."""

    url: str
    socket: CloudSocket

    def clients(self) -> AwsClients:
        return AwsClients({"": self.url})

    def client(self, service: str, credentials: Credentials | None = None, region: str = REGION) -> Any:
        return self.clients().client(service, region, credentials or self.admin)

    @property
    def admin(self) -> Credentials:
        return Credentials(ADMIN_KEY, ADMIN_SECRET, "", datetime.now(UTC) + timedelta(days=1))

    def role(self, name: str, *statements: dict[str, Any]) -> str:
        """An execution role; its ARN."""
        service = {"Effect": "Allow", "Principal": {"Service": "airflow-env.amazonaws.com"}, "Action": "sts:AssumeRole"}
        iam = self.client("iam")
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_document(service))["Role"]["Arn"]
        iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=_document(*statements))
        return str(arn)

    def assume(self, role_arn: str) -> Credentials:
        return asyncio.run(self.socket.assume_role(role_arn, "test"))


def _document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@pytest.fixture(scope="session")
def aws() -> Iterator[Aws]:
    home = Path(tempfile.mkdtemp(prefix="aero-", dir="/tmp"))
    home.chmod(0o755)
    layout = home_with_key(home)
    cache = Path(subprocess.run([UV, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip())
    cache.mkdir(parents=True, exist_ok=True)
    layout.cache.symlink_to(cache)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spec = CloudSpec(port, ACCOUNT, REGION, (os.getuid(),))
    lock = REPOSITORY / "requirements" / "cloud.txt"
    cloud = ensure_cloud(layout, spec, python=Path(sys.executable), uv=UV, lock=lock)
    process = subprocess.Popen(cloud.argv, env=dict(cloud.variables), cwd="/")
    try:
        _wait(process, cloud)
        found = Aws(f"http://127.0.0.1:{port}", CloudSocket(cloud.socket))
        asyncio.run(found.socket.ensure_admin("admin", ADMIN_KEY, ADMIN_SECRET, ACCOUNT))
        yield found
    finally:
        process.kill()
        process.wait(20)
        shutil.rmtree(home)


def _wait(process: subprocess.Popen[bytes], cloud: Cloud) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if httpx.get(cloud.health_url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, "the cloud ended at start"
        assert time.monotonic() < deadline, "the cloud was not healthy within 60 s"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def role(aws: Aws) -> str:
    """An execution role that may read every bucket and write none."""
    return aws.role("execution", READ)


@pytest.fixture
def admin(aws: Aws) -> Iterator[Any]:
    """S3 as the user who uploads."""
    client = aws.client("s3")
    yield client
    client.close()


@pytest.fixture
def s3(aws: Aws, role: str) -> Iterator[Any]:
    """S3 as the execution role."""
    client = aws.client("s3", aws.assume(role))
    yield client
    client.close()


@pytest.fixture
def bucket(admin: Any) -> str:
    name = f"content-{uuid.uuid4().hex[:12]}"
    admin.create_bucket(Bucket=name)
    admin.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


@pytest.fixture
def put(admin: Any, bucket: str) -> Callable[[str, str], None]:
    def put(key: str, text: str) -> None:
        admin.put_object(Bucket=bucket, Key=key, Body=text.encode())

    return put

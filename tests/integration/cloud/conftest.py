"""The real embedded cloud, built from its lock and started as the machine room starts it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from aerodrome.aws.cloud import CloudSocket
from aerodrome.aws.install import Cloud, CloudSpec, ensure_cloud
from support.homes import home_with_key

REPOSITORY = Path(__file__).parents[3]
UV = Path(sys.executable).parent / "uv"
LOCK = REPOSITORY / "requirements" / "cloud.txt"
ACCOUNT = "100000000001"
ADMIN_KEY = "AKIAADMINISTRATOR001"
ADMIN_SECRET = "administrator-secret-0123456789abcdef"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": ["airflow.amazonaws.com", "airflow-env.amazonaws.com"]},
            "Action": "sts:AssumeRole",
        }
    ],
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body; no header that isn't needed, so that presigned URLs hold."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
    try:
        connection.request(method, url[url.index("/", 8) :], body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class RunningCloud:
    """One embedded cloud with its own state; `kill` is SIGKILL."""

    def __init__(self, home: Path, machine: Path, cache: Path) -> None:
        self.layout = home_with_key(home)
        home.chmod(0o755)
        self.layout.machine.symlink_to(machine)
        self.layout.cache.symlink_to(cache)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.cloud: Cloud = self.install()
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[Any] = []

    def install(self) -> Cloud:
        spec = CloudSpec(self.port, ACCOUNT, "us-east-1", (os.getuid(),))
        return ensure_cloud(self.layout, spec, python=Path(sys.executable), uv=UV, lock=LOCK)

    @property
    def socket(self) -> CloudSocket:
        return CloudSocket(self.cloud.socket, cache_seconds=0)

    def ask(self, **request: Any) -> dict[str, Any]:
        """The private socket, without asyncio."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self.cloud.socket))
            with connection.makefile("rwb") as stream:
                stream.write(json.dumps(request).encode() + b"\n")
                stream.flush()
                answer: dict[str, Any] = json.loads(stream.readline())
        return answer

    def start(self, seconds: float = 30) -> None:
        self._process = subprocess.Popen(self.cloud.argv, env=dict(self.cloud.variables), cwd="/")
        deadline = time.monotonic() + seconds
        while True:
            try:
                if fetch(self.cloud.health_url)[0] == 200:
                    break
            except OSError:
                assert self._process.poll() is None, "the embedded cloud ended at start"
                assert time.monotonic() < deadline, f"the embedded cloud was not healthy within {seconds} s"
                time.sleep(0.05)
        made = self.ask(
            verb="ensure_admin", user="admin", access_key=ADMIN_KEY, secret_key=ADMIN_SECRET, account=ACCOUNT
        )
        assert made == {"ok": True}

    def start_refused(self) -> str:
        """What it says when it won't start."""
        given = {"env": dict(self.cloud.variables), "cwd": "/", "timeout": 60}
        done = subprocess.run(self.cloud.argv, capture_output=True, text=True, check=False, **given)
        assert done.returncode == 2, done.stderr
        return done.stderr

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code = self._process.wait(20)
        self._process = None
        return code

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.kill()

    def client(
        self,
        service: str,
        key: str = ADMIN_KEY,
        secret: str = ADMIN_SECRET,
        token: str | None = None,
        region: str = "us-east-1",
        **config: Any,
    ) -> Any:
        client = boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(retries={"total_max_attempts": 1}, **config),
        )
        self._clients.append(client)
        return client

    def user(self, name: str, *statements: dict[str, Any]) -> tuple[str, str]:
        """A user with one inline policy; its key id and secret."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        if statements:
            document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
            iam.put_user_policy(UserName=name, PolicyName="inline", PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]


@pytest.fixture(scope="session")
def cloud_build() -> Iterator[tuple[Path, Path]]:
    """Directories of the build and of uv's cache, shared by all clouds of a test run."""
    cache = Path(subprocess.run([UV, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip())
    cache.mkdir(parents=True, exist_ok=True)
    machine = Path(tempfile.mkdtemp(prefix="aero-", dir="/tmp"))
    yield machine, cache
    shutil.rmtree(machine)


@pytest.fixture
def stopped_cloud(cloud_build: tuple[Path, Path]) -> Iterator[RunningCloud]:
    """A cloud of one's own, installed and not started."""
    home = Path(tempfile.mkdtemp(prefix="aero-", dir="/tmp"))
    cloud = RunningCloud(home, *cloud_build)
    yield cloud
    cloud.close()
    shutil.rmtree(home)


@pytest.fixture
def cloud(stopped_cloud: RunningCloud) -> RunningCloud:
    """A running cloud of one's own, with an administrator."""
    stopped_cloud.start()
    return stopped_cloud


@pytest.fixture(scope="module")
def shared_cloud(cloud_build: tuple[Path, Path]) -> Iterator[RunningCloud]:
    """A running cloud for the tests of a module that don't stop it; they use names of their own."""
    home = Path(tempfile.mkdtemp(prefix="aero-", dir="/tmp"))
    cloud = RunningCloud(home, *cloud_build)
    cloud.start()
    yield cloud
    cloud.close()
    shutil.rmtree(home)

"""A real installation without environments, whose callers come from its own table."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from aerodrome.cli.iam import iam_app
from aerodrome.machineroom import shell
from support.postgres import free_port
from support.site import Site

RUNNER, SESSION = CliRunner(), boto3.Session()
KILLED = Path(__file__).parents[2] / "support" / "killed.py"


class Office(Site):
    """An installation and those who call it."""

    def iam(self, *argv: str, given: str | None = None) -> str:
        """In this process: a new one for each command would take most of these tests' time."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AERODROME_HOME", str(self.home))
            done = RUNNER.invoke(iam_app, list(argv), input=given)
        assert done.exit_code == 0, (argv, done.output, done.exception)
        return done.stdout

    def read(self, *argv: str, given: str | None = None) -> Any:
        return json.loads(self.iam(*argv, "--json", given=given))

    def killed(self, where: str, *argv: str) -> str:
        """A command that dies at MODULE:NAME (see `support/killed.py`); what it had printed."""
        done = self.run(sys.executable, KILLED, *where.split(":"), *argv, check=False)
        assert done.returncode == -signal.SIGKILL, done
        return done.stdout + done.stderr

    def as_key(self, service: str, key: dict[str, str] | None = None) -> Any:
        """boto3 with what `create-access-key --json` or STS answered; None: the administrator's recorded key."""
        recorded = self.installation
        key = key or {"AccessKeyId": recorded.admin_access_key, "SecretAccessKey": recorded.admin_secret_key}
        return SESSION.client(
            service,
            region_name="eu-west-1",
            endpoint_url=recorded.endpoint,
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
            aws_session_token=key.get("SessionToken"),
            config=Config(inject_host_prefix=False, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def answer(self, key: dict[str, str] | None = None) -> str:
        """What ListEnvironments answers: `ok`, or the error's code."""
        try:
            self.as_key("mwaa", key).list_environments()
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "ok"


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    home = Path(tempfile.mkdtemp(prefix="aero-", dir="/tmp"))
    home.chmod(0o711)
    office = Office(home)
    ports = ("PORT", "GATEWAY_PORT", "POSTGRES_PORT", "VALKEY_PORT", "CLOUD_PORT")
    office.variables = {f"AERODROME_{name}": str(free_port()) for name in ports}
    try:
        office.variables["AERODROME_IDENTITY"] = "table"
        office.aerodrome("up", "--detach")
        del office.variables["AERODROME_IDENTITY"]  # it is remembered
        assert "AWS_ENDPOINT_URL" in shell.variables(office.layout, office.installation)
        yield office
    finally:
        office.aerodrome("down", "--now", check=False)
        office.aerodrome("purge", "--yes", check=False)
        shutil.rmtree(home, ignore_errors=True)

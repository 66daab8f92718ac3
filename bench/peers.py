"""The two services that speak the MWAA API here: an installation of Aerodrome, and ministack as its maker ships it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import httpx

from aerodrome.domain import creation
from aerodrome.domain.environment import Environment, EnvironmentKey, LastUpdate, Status
from aerodrome.domain.secrets import EnvironmentSecrets
from aerodrome.store.database import open_pool
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.vault import Vault
from bench.load import Target
from support.postgres import free_port
from support.site import Site, wait_for

_ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
_ROOT = "test"  # ministack's own root key and its secret, where none is configured


def names(count: int) -> list[str]:
    return [f"bench-{number:03}" for number in range(count)]


def members() -> dict[str, Any]:
    """What both are asked to create."""
    return {
        "SourceBucketArn": "arn:aws:s3:::bench-bucket",
        "DagS3Path": "dags",
        "ExecutionRoleArn": "arn:aws:iam::100000000001:role/bench",
        "NetworkConfiguration": {"SubnetIds": ["subnet-0a", "subnet-0b"], "SecurityGroupIds": ["sg-0a"]},
        "AirflowConfigurationOptions": {"core.default_task_retries": "3"},
        "Tags": {"team": "bench"},
    }


def aerodrome(site: Site, count: int) -> Target:
    """The control plane of `site` with that many environments that nobody runs: rows like any other, of failed creates.

    What runs beside would be measured too, so nothing does.
    """
    installation = site.installation
    asyncio.run(_insert(site, count))
    status = json.loads(site.aerodrome("status", "--json").stdout)
    return Target(
        installation.endpoint,
        installation.region,
        installation.admin_access_key,
        installation.admin_secret_key,
        tuple(program["pid"] for program in status["programs"] if program["name"] in ("server", "postgres")),
    )


async def _insert(site: Site, count: int) -> None:
    installation = site.installation
    now = datetime.now(UTC)
    async with open_pool(f"{installation.postgres_url}/aerodrome", size=2) as pool:
        store = EnvironmentStore(pool, Vault(site.layout.master_key.read_bytes()))
        for number, name in enumerate(names(count)):
            key = EnvironmentKey("aws", installation.account, installation.region, name)
            row = Environment(
                id=secrets.token_hex(6),
                key=key,
                status=Status.CREATE_FAILED,
                desired=creation.complete(members(), strict=False),
                applied=None,
                last_update=LastUpdate("FAILED", now),
                host=f"{name}.airflow.localhost",
                created_at=now,
                generation=1,
            )
            fernet_key = urlsafe_b64encode(secrets.token_bytes(32)).decode()
            sealed = EnvironmentSecrets.generate(secrets.token_urlsafe, fernet_key)
            await store.insert(row, f"127.83.255.{number + 1}", sealed)


@contextmanager
def ministack(site: Site, folder: Path, count: int) -> Iterator[Target]:
    """ministack from the same wheel as the embedded cloud, as its maker starts it, AUTH=true, state in memory alone.

    The caller is an IAM user with AdministratorAccess, as in ours.
    """
    python = max(site.layout.machine.glob("cloud-*/venv/bin/python"), key=lambda path: path.lstat().st_mtime)
    port = free_port()
    variables = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "AUTH": "true",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_ACCOUNT_ID": site.installation.account,
        "MINISTACK_REGION": site.installation.region,
    }
    with (folder / "ministack.log").open("wb") as log:
        process = subprocess.Popen(
            [python, "-m", "ministack"], env=variables, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    endpoint = f"http://127.0.0.1:{port}"
    try:
        wait_for("ministack", lambda: _answers(f"{endpoint}/_ministack/health"), 60)
        yield replace(_furnished(endpoint, site.installation.region, count), processes=(process.pid,))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _furnished(endpoint: str, region: str, count: int) -> Target:
    def client(service: str, key: str, secret: str) -> Any:
        return boto3.Session().client(
            service, region_name=region, endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret
        )

    iam = client("iam", _ROOT, _ROOT)
    iam.create_user(UserName="admin")
    iam.attach_user_policy(UserName="admin", PolicyArn=_ADMINISTRATOR)
    made = iam.create_access_key(UserName="admin")["AccessKey"]
    mwaa = client("mwaa", made["AccessKeyId"], made["SecretAccessKey"])
    for name in names(count):
        mwaa.create_environment(Name=name, **members())
    return Target(endpoint, region, made["AccessKeyId"], made["SecretAccessKey"])

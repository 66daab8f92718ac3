"""A real installation as the end-to-end tests see it: a shell, a boto3 session, a home."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from aerodrome.domain.airflow_version import AirflowVersion
from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation, load

PATIENCE = 600


@dataclass
class Site:
    """The installation under test. `demo_output` is what `aerodrome demo` printed."""

    home: Path
    demo_output: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)  # AERODROME_…, the same for every command
    python: Path = field(default_factory=lambda: Path(sys.executable))
    switch: Mapping[str, Any] = field(default_factory=dict)  # who it runs as: arguments of `subprocess`

    @property
    def layout(self) -> Layout:
        return Layout(self.home)

    @property
    def installation(self) -> Installation:
        return load(self.layout)

    def environment(self) -> dict[str, str]:
        """What a shell has after `eval "$(aerodrome shell-env)"`, in an empty home."""
        plain = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        passed = {k: v for k, v in os.environ.items() if k.startswith("UV_") or k.upper().endswith("_PROXY")}
        trust = {k: v for k, v in os.environ.items() if k in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
        ours = {"HOME": str(self.home), "AERODROME_HOME": str(self.home), **self.settings}
        return {**plain, **passed, **trust, **ours, **self.variables}

    def run(self, *argv: str | Path, timeout: float = PATIENCE, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(word) for word in argv], env=self.environment(), capture_output=True, text=True, timeout=timeout,
            check=False, cwd="/", stdin=subprocess.DEVNULL, **self.switch,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
        return done

    def aerodrome(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run(self.python, "-m", "aerodrome.cli", *argv, **options)

    def aws(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run(Path(sys.executable).parent / "aws", *argv, **options)

    def client(self, service: str, region: str | None = None, **keys: str) -> Any:
        """Stock boto3 with nothing but what `shell-env` prints."""
        values = self.variables
        return boto3.Session().client(
            service,
            region_name=region or values["AWS_REGION"],
            endpoint_url=values["AWS_ENDPOINT_URL"],
            aws_access_key_id=keys.get("key", values["AWS_ACCESS_KEY_ID"]),
            aws_secret_access_key=keys.get("secret", values["AWS_SECRET_ACCESS_KEY"]),
        )

    @property
    def bucket(self) -> str:
        return self.bucket_of("demo")

    def bucket_of(self, name: str) -> str:
        described = self.client("mwaa").get_environment(Name=name)["Environment"]
        return str(described["SourceBucketArn"].split(":::")[1])


@dataclass(frozen=True)
class Demo:
    """An environment that `aerodrome demo` made in the installation, and what that printed."""

    site: Site
    name: str
    version: AirflowVersion
    output: str

    @property
    def bucket(self) -> str:
        return self.site.bucket_of(self.name)

    @property
    def host(self) -> str:
        """Of its web server, with the port."""
        return str(self.site.client("mwaa").get_environment(Name=self.name)["Environment"]["WebserverUrl"])

    def rest(self, path: str, method: str = "GET", **members: Any) -> dict[str, Any]:
        """Airflow's REST API through InvokeRestApi."""
        answer = self.site.client("mwaa").invoke_rest_api(Name=self.name, Path=path, Method=method, **members)
        return dict(answer["RestApiResponse"])

    def trigger(self, dag: str, run_id: str, conf: Mapping[str, Any] | None = None) -> None:
        """A run under an id of the test's own."""
        body: dict[str, Any] = {"dag_run_id": run_id, "conf": dict(conf or {})}
        if self.version.major >= 3:
            body["logical_date"] = None
        self.rest(f"/dags/{dag}/dagRuns", "POST", Body=body)

    def cli(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.site.aerodrome("env", "cli", self.name, "--", *words, **options)


def wait_for(what: str, look: Callable[[], Any], patience: float = 120) -> Any:
    """The first answer of `look` that is not None and not False."""
    deadline = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:.0f} s in vain for: {what}")
        time.sleep(0.5)

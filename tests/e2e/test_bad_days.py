"""Bad input and bad moments on the real thing. Runs last of the modules here: it kills and restarts."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import psycopg
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from support.site import Site, wait_for


def creation(site: Site, **members: Any) -> dict[str, Any]:
    described = site.client("mwaa").get_environment(Name="demo")["Environment"]
    taken = ("SourceBucketArn", "DagS3Path", "ExecutionRoleArn", "NetworkConfiguration")
    return {"Name": "second", **{name: described[name] for name in taken}, **members}


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ({"AirflowVersion": "1.2.3"}, "AirflowVersion"),
        ({"EnvironmentClass": "mw1.giant"}, "EnvironmentClass"),
        ({"SourceBucketArn": "arn:aws:s3:::no-such-bucket-at-all"}, "no-such-bucket-at-all"),
        ({"ExecutionRoleArn": "arn:aws:iam::100000000001:role/no-such-role"}, "ExecutionRoleArn"),
        ({"Name": "demo"}, "demo"),
        ({"MinWorkers": 9, "MaxWorkers": 3}, "MinWorkers"),
        ({"AirflowConfigurationOptions": {"core.executor": "LocalExecutor"}}, "core.executor"),
    ],
)
def test_bad_input_is_refused_at_once_and_changes_nothing(site: Site, members: dict[str, Any], word: str) -> None:
    mwaa = site.client("mwaa")
    with pytest.raises(mwaa.exceptions.ValidationException, match=word):
        mwaa.create_environment(**creation(site, **members))
    assert mwaa.list_environments()["Environments"] == ["demo"]


def test_an_unknown_environment_is_404(site: Site) -> None:
    mwaa = site.client("mwaa")
    for call in (mwaa.get_environment, mwaa.delete_environment, mwaa.create_cli_token, mwaa.create_web_login_token):
        with pytest.raises(mwaa.exceptions.ResourceNotFoundException):
            call(Name="nobody")


def test_operations_of_later_releases_say_so(site: Site) -> None:
    mwaa = site.client("mwaa")
    with pytest.raises(mwaa.exceptions.ClientError, match="not supported by this release"):
        mwaa.update_environment(Name="demo", MaxWorkers=2)


def control_plane_pid(site: Site) -> int:
    return int((site.layout.run / "pids" / "server").read_text().split()[0])


def kill_control_plane(site: Site) -> None:
    old = control_plane_pid(site)
    os.kill(old, signal.SIGKILL)
    wait_for("a new control plane", lambda: control_plane_pid(site) != old)


def status(site: Site, name: str) -> str | None:
    mwaa = site.client("mwaa")
    try:
        return str(mwaa.get_environment(Name=name)["Environment"]["Status"])
    except mwaa.exceptions.ResourceNotFoundException:
        return None
    except (ClientError, BotoCoreError):
        return "away"


def traces(site: Site) -> list[str]:
    """Everything of environments other than demo that is left anywhere."""
    installation = site.installation
    (demo,) = [entry.name for entry in site.layout.environments.iterdir() if (entry / "content" / "dags").exists()]
    with psycopg.connect(f"{installation.postgres_url}/postgres") as connection:
        databases = [row[0] for row in connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'env_%'")]
        roles = [row[0] for row in connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'env_%'")]
    left = [f"database {name}" for name in databases if demo not in name]
    left += [f"role {name}" for name in roles if demo not in name]
    entries = [entry for entry in site.layout.environments.iterdir() if entry.is_dir()]
    others = [entry.name for entry in entries if entry.name not in (demo, "runtimes")]
    left += [f"directory {name}" for name in others]
    pids = (entry.name for entry in (site.layout.run / "pids").iterdir() if "." in entry.name)
    left += [f"process {name}" for name in pids if not name.startswith((demo, "runtimes"))]
    return left


def test_the_same_name_in_another_region_killed_in_create_and_in_delete(site: Site) -> None:
    """kill -9 of the control plane in the middle of a create and of a delete: both finish after its restart."""
    there = site.client("mwaa", region="eu-central-1")
    there.create_environment(**creation(site, Name="demo"))

    def there_status() -> str | None:
        try:
            return str(there.get_environment(Name="demo")["Environment"]["Status"])
        except there.exceptions.ResourceNotFoundException:
            return None
        except (ClientError, BotoCoreError):
            return "away"

    for _ in range(3):
        time.sleep(2)
        kill_control_plane(site)
    wait_for("AVAILABLE after the kills", lambda: there_status() == "AVAILABLE", 180)
    assert status(site, "demo") == "AVAILABLE"
    there.delete_environment(Name="demo")
    kill_control_plane(site)
    wait_for("the end of the delete", lambda: there_status() is None, 120)
    assert status(site, "demo") == "AVAILABLE"
    wait_for("nothing to be left", lambda: not traces(site), 30)


def test_deleting_what_is_being_created(site: Site) -> None:
    mwaa = site.client("mwaa")
    mwaa.create_environment(**creation(site))
    time.sleep(3)
    mwaa.delete_environment(Name="second")
    with pytest.raises(mwaa.exceptions.ValidationException, match="DELETING"):
        mwaa.delete_environment(Name="second")
    wait_for("the end of the delete", lambda: status(site, "second") is None)
    assert traces(site) == []


def test_down_and_up_bring_everything_back(site: Site) -> None:
    site.aerodrome("down")
    site.aerodrome("up", "--detach")
    mwaa = site.client("mwaa")

    def answers() -> bool:
        try:
            return bool(mwaa.invoke_rest_api(Name="demo", Path="/dags/flights", Method="GET"))
        except (ClientError, BotoCoreError):
            return False

    wait_for("Airflow to answer again", answers, 120)
    assert status(site, "demo") == "AVAILABLE"
    site.aerodrome("demo")

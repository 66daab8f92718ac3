"""Bad input and bad moments on the real thing. Runs last of the modules here: it kills and restarts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from aerodrome.domain.plan import broker_user
from support import traces
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
    before = mwaa.list_environments()["Environments"]
    with pytest.raises(mwaa.exceptions.ValidationException, match=word):
        mwaa.create_environment(**creation(site, **members))
    assert mwaa.list_environments()["Environments"] == before


def test_an_unknown_environment_is_404(site: Site) -> None:
    mwaa = site.client("mwaa")
    for call in (mwaa.get_environment, mwaa.delete_environment, mwaa.create_cli_token, mwaa.create_web_login_token):
        with pytest.raises(mwaa.exceptions.ResourceNotFoundException):
            call(Name="nobody")


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


def is_gone(site: Site, name: str) -> bool:
    return status(site, name) is None


ELSEWHERE = "eu-central-1"


def elsewhere(site: Site, name: str) -> Callable[[], str | None]:
    """Status of the environment of that name in another region."""
    mwaa = site.client("mwaa", region=ELSEWHERE)

    def look() -> str | None:
        try:
            return str(mwaa.get_environment(Name=name)["Environment"]["Status"])
        except mwaa.exceptions.ResourceNotFoundException:
            return None
        except (ClientError, BotoCoreError):
            return "away"

    return look


def kill_at(site: Site, moments: dict[str, Callable[[], Any]]) -> list[str]:
    """`kill -9` of the control plane as soon as each of the moments has come, one after the other; the moments."""
    for what, has_come in moments.items():
        deadline = time.monotonic() + 120
        while not has_come():
            assert time.monotonic() < deadline, f"waited in vain for: {what}"
            time.sleep(0.02)
        kill_control_plane(site)
    return list(moments)


def test_the_same_name_in_another_region_killed_in_create_and_in_delete(site: Site) -> None:
    """kill -9 of the control plane in the middle of steps of a create and of a delete: the same end, nothing left."""
    there = site.client("mwaa", region=ELSEWHERE)
    look = elsewhere(site, "demo")
    before = status(site, "demo")
    there.create_environment(**creation(site, Name="demo"))
    made = traces.row(site, "demo", ELSEWHERE)
    assert made is not None
    directory = site.layout.environment(made.id)
    kill_at(
        site,
        {
            "the row alone": lambda: True,
            "its user at the broker": lambda: broker_user(made.id) in traces.broker_users(site),
            "its role in PostgreSQL": lambda: f"env_{made.id}" in traces.roles(site),
            "its database": lambda: f"env_{made.id}" in traces.databases(site),
            "the first of its programs": lambda: traces.programs(site, made.id),
            "its web server's route": lambda: (
                any(map(traces.answers, traces.addresses(site, made))) or not made.host[0].isdigit()
            ),
        },
    )
    wait_for("AVAILABLE after the kills", lambda: look() == "AVAILABLE", 180)
    assert status(site, "demo") == before
    user = traces.system_user(site, made.id)
    there.delete_environment(Name="demo")
    kill_at(
        site,
        {
            "the delete is asked for": lambda: True,
            "a component is gone": lambda: len(list((site.layout.run / "pids").glob(f"{made.id}.*"))) < 5,
            "all components are gone": lambda: not list((site.layout.run / "pids").glob(f"{made.id}.*")),
            "the broker's user is gone": lambda: broker_user(made.id) not in traces.broker_users(site),
            "the database is gone": lambda: f"env_{made.id}" not in traces.databases(site),
            "the files are gone": lambda: not directory.exists(),
        },
    )
    wait_for("the end of the delete", lambda: look() is None, 120)
    assert traces.of_environment(site, made, user.pw_uid if user else None) == []
    assert traces.of_nobody(site) == []
    assert status(site, "demo") == before


def test_three_at_once(site: Site) -> None:
    """Three environments created together, the control plane answering meanwhile; deleted together, without a trace."""
    mwaa = site.client("mwaa")
    names = ["one", "two", "three"]
    for name in names:
        mwaa.create_environment(**creation(site, Name=name))
    slowest = 0.0

    def statuses() -> list[str | None]:
        nonlocal slowest
        began = time.monotonic()
        found = [str(mwaa.get_environment(Name=name)["Environment"]["Status"]) for name in names]
        slowest = max(slowest, (time.monotonic() - began) / len(names))
        assert "CREATE_FAILED" not in found
        return list(found)

    wait_for("three AVAILABLE environments", lambda: statuses() == ["AVAILABLE"] * 3, 300)
    assert slowest < 5, f"GetEnvironment took {slowest:.1f} s while three environments started"
    made = [found for name in names if (found := traces.row(site, name, site.installation.region))]
    assert len({environment.host for environment in made}) == 3
    for environment in made:
        assert mwaa.invoke_rest_api(Name=environment.name, Path="/dags", Method="GET")["RestApiStatusCode"] == 200
    users = [traces.system_user(site, environment.id) for environment in made]
    for name in names:
        mwaa.delete_environment(Name=name)
    for name in names:
        wait_for(f"the end of {name}", partial(is_gone, site, name))
    for environment, user in zip(made, users, strict=True):
        assert traces.of_environment(site, environment, user.pw_uid if user else None) == []
    assert traces.of_nobody(site) == []


def test_deleting_what_is_being_created(site: Site) -> None:
    mwaa = site.client("mwaa")
    mwaa.create_environment(**creation(site))
    time.sleep(3)
    mwaa.delete_environment(Name="second")
    with pytest.raises(mwaa.exceptions.ValidationException, match="DELETING"):
        mwaa.delete_environment(Name="second")
    wait_for("the end of the delete", lambda: status(site, "second") is None)
    assert traces.of_nobody(site) == []


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

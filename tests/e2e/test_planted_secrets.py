"""Secrets are planted over the whole life of an environment, then looked for wherever something may be read."""

from __future__ import annotations

import base64
import gzip
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from aerodrome.domain import versions
from support import traces
from support.asking import fresh, settled
from support.people import WEB, allowing, person, role_arn, secrets_of
from support.planted import Search
from support.site import Demo, Site, wait_for

from .test_bad_days import creation, is_gone, status

NAME = "planted"
DAG = Path(__file__).parents[1] / "support" / "planted_dag.py"
SCRIPT = "planted/startup.sh"


@pytest.fixture
def demo(site: Site) -> Iterator[Demo]:
    with coming(site, versions.DEFAULT_VERSION) as demo:
        yield demo


@contextmanager
def coming(site: Site, version: str) -> Iterator[Demo]:
    """An environment that isn't there yet, and is gone afterwards."""
    yield Demo(site, NAME, versions.get(version), "")
    with suppress(ClientError):
        site.client("mwaa").delete_environment(Name=NAME)
    site.client("s3").delete_object(Bucket=site.bucket, Key="dags/planted.py")
    wait_for("the end of the delete", lambda: is_gone(site, NAME))


def put_script(site: Site, secret: str) -> str:
    text = f"export PLANTED_TOKEN='{secret}'\n"
    return str(site.client("s3").put_object(Bucket=site.bucket, Key=SCRIPT, Body=text.encode())["VersionId"])


def create(demo: Demo, search: Search) -> None:
    site = demo.site
    members = {
        "AirflowConfigurationOptions": {
            "smtp.smtp_password": search.plant("option"),
            "mine.secret": search.plant("unread-option"),
        },
        "StartupScriptS3Path": SCRIPT,
        "StartupScriptS3ObjectVersion": put_script(site, search.plant("export")),
        "AirflowVersion": demo.version.version,
    }
    site.client("s3").put_object(Bucket=site.bucket, Key="dags/planted.py", Body=DAG.read_bytes())
    site.client("mwaa").create_environment(**creation(site, Name=NAME, **members))

    def available() -> bool:
        found = status(site, NAME)
        assert found != "CREATE_FAILED", site.aerodrome("env", "events", NAME).stdout
        return found == "AVAILABLE"

    wait_for("AVAILABLE", available, 240)
    generated = secrets_of(site, traces.id_of(site, NAME)).to_json()
    for name, secret in generated.items():
        search.knows(name, secret)


def fill(demo: Demo, search: Search) -> None:
    """Connections and variables, by the command line and by REST."""
    demo.cli("variables", "set", "cli_password", search.plant("variable-by-cli"))
    demo.cli("connections", "add", "by_cli", "--conn-type", "http", "--conn-password", search.plant("password-by-cli"))
    demo.rest("/variables", "POST", Body={"key": "rest_password", "value": search.plant("variable-by-rest")})
    body = {"connection_id": "by_rest", "conn_type": "http", "password": search.plant("password-by-rest")}
    demo.rest("/connections", "POST", Body=body)


def run(demo: Demo, search: Search, export: str, option: str) -> str:
    """A task that has all of it, and tells what it had."""
    run_id, secrets = fresh("planted"), search.secrets
    wait_for("the DAG", lambda: "planted" in {dag["dag_id"] for dag in demo.rest("/dags")["dags"]})
    demo.trigger("planted", run_id, {"bucket": demo.bucket})

    def ended() -> bool:
        state = demo.rest(f"/dags/planted/dagRuns/{run_id}")["state"]
        assert state != "failed"
        return bool(state == "success")

    wait_for(f"the end of {run_id}", ended)
    body = demo.site.client("s3").get_object(Bucket=demo.bucket, Key=f"output/{run_id}.json")["Body"].read()
    found = json.loads(body)
    secret, token = found.pop("credentials")
    search.knows(f"task's key {run_id}", secret)
    search.knows(f"task's token {run_id}", token)
    assert found == {
        "variables": {"cli_password": secrets["variable-by-cli"], "rest_password": secrets["variable-by-rest"]},
        "connections": {"by_cli": secrets["password-by-cli"], "by_rest": secrets["password-by-rest"]},
        "option": secrets[option],
        "export": secrets[export],
    }
    return run_id


def sign_in(demo: Demo, search: Search) -> None:
    with person(demo.site, "planted", allowing([WEB], role_arn(demo, "Admin"))) as one:
        search.knows("user's secret", one.secret)
        search.knows("web token", one.token(demo))
        search.knows("cookie", one.sign_in(demo))
        search.knows("cli token", demo.site.client("mwaa").create_cli_token(Name=NAME)["CliToken"])


def update(demo: Demo, search: Search) -> None:
    members = {
        "AirflowConfigurationOptions": {
            "smtp.smtp_password": search.plant("next-option"),
            "mine.secret": search.plant("next-unread-option"),
        },
        "StartupScriptS3ObjectVersion": put_script(demo.site, search.plant("next-export")),
    }
    demo.site.client("mwaa").update_environment(Name=NAME, **members)
    assert settled(demo)["Status"] == "AVAILABLE"


def look(site: Site, search: Search, since: float, own: int | None) -> None:
    """Everywhere on the machine. `own`: the user whose processes have these secrets by right."""
    search.files(site.home, since)
    search.rows(site.installation.postgres_url)
    search.processes(own)


def look_at_answers(demo: Demo, search: Search, run_id: str) -> None:
    """What API and Airflow say to whoever may ask for all of it, but the options, which GetEnvironment shows as MWAA
    does, and variables in Airflow 2, whose REST API masks none.
    """
    shown = demo.site.client("mwaa").get_environment(Name=NAME)["Environment"]
    assert shown.pop("AirflowConfigurationOptions")
    answers: dict[str, Callable[[], Any]] = {
        "GetEnvironment": lambda: shown,
        "ListEnvironments": lambda: demo.site.client("mwaa").list_environments(),
        "sessions": lambda: demo.site.aerodrome("sessions", "list", "--json").stdout,
        "connections": lambda: demo.rest("/connections"),
        "variables": lambda: demo.rest("/variables"),
        "configuration": lambda: demo.cli("config", "list", check=False).stdout,
        "task log": lambda: demo.rest(f"/dags/planted/dagRuns/{run_id}/taskInstances/use/logs/1"),
        "XComs": lambda: demo.rest(f"/dags/planted/dagRuns/{run_id}/taskInstances/use/xcomEntries"),
        "audit log": lambda: demo.rest("/eventLogs"),
    }
    if demo.version.major < 3:
        del answers["variables"]
    for name, answer in answers.items():
        search.text(f"answer: {name}", json.dumps(answer(), default=str))


def test_planted_secrets_are_nowhere_to_be_read(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    search = live(demo)
    with capsys.disabled():
        tell(search)
    assert search.found == set()


def tell(search: Search) -> None:
    print(
        f"\nplanted: {len(search.secrets)} secrets, looked at {search.looked_at >> 20} MB, found: {len(search.found)}"
    )
    for found in sorted(search.found, key=str):
        print(f"  {found.what} in {found.where}")


def live(demo: Demo, ordinary: int | None = None) -> Search:
    """A full life, and a look at all that there is in its middle and at its end. `ordinary`: who the installation runs
    as, if that is an ordinary user, whose every process is its environments' too.
    """
    site = demo.site
    search, since = Search(), time.time()
    create(demo, search)
    fill(demo, search)
    run(demo, search, "export", "unread-option")
    sign_in(demo, search)
    update(demo, search)
    last = run(demo, search, "next-export", "next-unread-option")
    user = traces.system_user(site, traces.id_of(site, NAME))
    look_at_answers(demo, search, last)
    look(site, search, since, user.pw_uid if user else ordinary or os.geteuid())
    site.client("mwaa").delete_environment(Name=NAME)
    wait_for("the end of the delete", lambda: is_gone(site, NAME))
    search.text("events", site.aerodrome("env", "events", NAME).stdout)
    look(site, search, since, ordinary or os.geteuid() or None)
    return search


def test_what_is_looked_for_is_found(tmp_path: Path) -> None:
    """Else the search above proves nothing."""
    search = Search()
    secret = search.plant("known")
    shapes = {
        "plain": secret.encode(),
        "quoted": quote(secret, safe="").encode(),
        "hex": secret.encode().hex().encode(),
        "gzip": gzip.compress(b"x" + secret.encode()),
        **{f"base64-{n}": base64.b64encode(b"x" * n + secret.encode() + b"yy") for n in range(3)},
    }
    for name, data in shapes.items():
        (tmp_path / name).write_bytes(data)
    search.files(tmp_path, 0.0)
    assert {found.where.partition(" ")[0] for found in search.found} == set(shapes)

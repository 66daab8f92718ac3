"""The main job: `aerodrome demo`, and what a person does next with the tools they have."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from support.site import Site, wait_for

HELLO = """
try:
    from airflow.sdk import dag, task
except ImportError:
    from airflow.decorators import dag, task


@dag(schedule=None, tags=["e2e"])
def uploaded():
    @task
    def say():
        print("said by the uploaded DAG")

    say()


uploaded()
"""


def test_the_demo_shows_its_result_its_times_and_a_sign_in_link(site: Site) -> None:
    assert "aws-console-sso?login=true#" in site.demo_output
    assert "Environment" in site.demo_output
    assert re.search(r"\d\.\d s", site.demo_output)


def test_the_demo_run_again_reuses_what_is_there_and_writes_a_new_version(site: Site) -> None:
    s3 = site.client("s3")
    before = s3.list_object_versions(Bucket=site.bucket, Prefix="output/report.json")["Versions"]
    created = site.client("mwaa").get_environment(Name="demo")["Environment"]["CreatedAt"]
    site.aerodrome("demo")
    after = s3.list_object_versions(Bucket=site.bucket, Prefix="output/report.json")["Versions"]
    assert len(after) == len(before) + 1
    assert site.client("mwaa").get_environment(Name="demo")["Environment"]["CreatedAt"] == created


def test_aws_cli_lists_and_gets(site: Site) -> None:
    listed = json.loads(site.aws("mwaa", "list-environments", "--output", "json").stdout)
    assert listed["Environments"] == ["demo"]
    got = json.loads(site.aws("mwaa", "get-environment", "--name", "demo", "--output", "json").stdout)["Environment"]
    assert got["Status"] == "AVAILABLE"
    assert got["AirflowVersion"] == "3.3.1"
    assert got["LastUpdate"]["Status"] == "SUCCESS"
    assert not got["WebserverUrl"].startswith("https://")


def test_aws_cli_copies_and_presigns(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "päth with spaces+plus.txt"
    source.write_text("hello")
    key = f"s3://{site.bucket}/tmp/{source.name}"
    site.aws("s3", "cp", str(source), key)
    link = site.aws("s3", "presign", key).stdout.strip()
    curl = ["curl", "--silent", "--show-error", "--fail"]
    assert subprocess.run([*curl, link], capture_output=True, text=True, check=True).stdout == "hello"
    tampered = re.sub(r"Expires=(\d+)", lambda found: f"Expires={int(found[1]) + 1}", link)
    assert tampered != link
    assert subprocess.run([*curl, tampered], capture_output=True, check=False).returncode != 0
    site.aws("s3", "rm", key)


def test_a_large_object_goes_through_in_parts(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(bytes(range(256)) * 4 * 1024 * 20)  # 20 MiB: aws s3 cp uploads it in parts
    key = f"s3://{site.bucket}/tmp/large"
    site.aws("s3", "cp", str(source), key)
    site.aws("s3", "cp", key, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    site.aws("s3", "rm", key)


def rest(site: Site, path: str, method: str = "GET", **members: object) -> dict[str, object]:
    answer = site.client("mwaa").invoke_rest_api(Name="demo", Path=path, Method=method, **members)
    return dict(answer["RestApiResponse"])


def test_an_uploaded_dag_appears_runs_logs_and_goes(site: Site) -> None:
    s3 = site.client("s3")
    s3.put_object(Bucket=site.bucket, Key="dags/sub/uploaded.py", Body=HELLO.encode())

    def listed() -> bool:
        try:
            return bool(rest(site, "/dags/uploaded"))
        except ClientError as error:
            if error.response["RestApiStatusCode"] != 404:
                raise
            return False

    wait_for("the uploaded DAG in Airflow", listed)
    rest(site, "/dags/uploaded", "PATCH", Body={"is_paused": False})
    run = rest(site, "/dags/uploaded/dagRuns", "POST", Body={"logical_date": None})["dag_run_id"]

    def state() -> str | None:
        found = str(rest(site, f"/dags/uploaded/dagRuns/{run}"[:64])["state"])
        return found if found in ("success", "failed") else None

    assert wait_for("the run", state) == "success"
    log = site.aerodrome("env", "cli", "demo", "--", "tasks", "states-for-dag-run", "uploaded", str(run)).stdout
    assert "success" in log
    s3.delete_object(Bucket=site.bucket, Key="dags/sub/uploaded.py")
    folder = site.layout.environments / environment_id(site) / "content" / "dags" / "sub"
    wait_for("the file to go", lambda: not (folder / "uploaded.py").exists())


def environment_id(site: Site) -> str:
    (found,) = [entry.name for entry in site.layout.environments.iterdir() if len(entry.name) == 12]
    return found


def test_a_broken_dag_file_is_an_import_error_and_nothing_else(site: Site) -> None:
    s3 = site.client("s3")
    s3.put_object(Bucket=site.bucket, Key="dags/broken.py", Body=b"import airflow, nothing_of_this_name  # a dag\n")
    errors = wait_for("the import error", lambda: rest(site, "/importErrors")["import_errors"])
    assert "nothing_of_this_name" in json.dumps(errors)
    assert site.client("mwaa").get_environment(Name="demo")["Environment"]["Status"] == "AVAILABLE"
    s3.delete_object(Bucket=site.bucket, Key="dags/broken.py")
    wait_for("the import error to go", lambda: not rest(site, "/importErrors")["import_errors"])


def test_airflows_own_errors_come_through(site: Site) -> None:
    with pytest.raises(ClientError) as caught:
        rest(site, "/dags/no-such-dag")
    assert caught.value.response["Error"]["Code"] == "RestApiClientException"
    assert caught.value.response["RestApiStatusCode"] == 404
    assert "no-such-dag" in json.dumps(caught.value.response["RestApiResponse"])


def test_the_cli_bridge_runs_airflow(site: Site) -> None:
    assert "flights" in site.aerodrome("env", "cli", "demo", "--", "dags", "list").stdout
    refused = site.aerodrome("env", "cli", "demo", "--", "db", "shell", check=False)
    assert refused.returncode != 0
    assert site.aerodrome("env", "cli", "demo", "--", "version").stdout.strip() == "3.3.1"


def test_the_history_tells_every_step(site: Site) -> None:
    told = site.aerodrome("env", "events", "demo").stdout
    for words in ("CreateEnvironment", "All components healthy", "AVAILABLE"):
        assert words in told


def test_mwaa_hook_unmodified(site: Site) -> None:
    """The Amazon provider's own hook, in the runtime's own Python, as a DAG elsewhere would use it."""
    (python,) = site.layout.runtimes.glob("3.3.1-*/bin/python")
    script = (
        "from airflow.providers.amazon.aws.hooks.mwaa import MwaaHook\n"
        "hook = MwaaHook(aws_conn_id=None)\n"
        "print(hook.invoke_rest_api(env_name='demo', path='/dags', method='GET')['RestApiStatusCode'])\n"
        "print(hook.invoke_rest_api(env_name='demo', path='/dags', method='GET', generate_local_token=True,"
        " airflow_version=3)['RestApiStatusCode'])\n"
    )
    done = site.run(python, "-c", script)
    assert [line for line in done.stdout.splitlines() if line.isdecimal()] == ["200", "200"], done.stdout

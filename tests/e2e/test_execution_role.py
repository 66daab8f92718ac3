"""Tasks have the execution role's credentials and nothing else: the Amazon provider unmodified, on the real thing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from aerodrome.supervision import opening
from support import traces
from support.asking import fresh, update
from support.site import Demo, wait_for

from .test_bad_days import kill_control_plane
from .test_updates import components, replaced

DAGS = Path(__file__).parents[1] / "support" / "role_dag.py"
PROVIDER = "airflow.providers.amazon.aws.secrets"
# Backend -> what its names begin with (its default is what MWAA's guide uses).
BACKENDS = {
    f"{PROVIDER}.secrets_manager.SecretsManagerBackend": "airflow",
    f"{PROVIDER}.systems_manager.SystemsManagerParameterStoreBackend": "/airflow",
}
STATIC = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
          "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """An environment with the DAGs, and its role with a few permissions on things that were made for it."""

    demo: Demo
    role: str  # its name
    word: str  # what is named with it is the test's own
    queue: str  # a URL

    def client(self, service: str) -> Any:
        return self.demo.site.client(service)

    def conf(self, *, allowed: bool = True, **more: Any) -> dict[str, Any]:
        word = self.word if allowed else f"{self.word}-other"
        queue = self.queue if allowed else f"{self.queue}-other"
        return {"bucket": self.demo.bucket, "queue": queue, "secret": word, "parameter": f"/{word}", **more}

    def run(self, dag: str, conf: dict[str, Any]) -> tuple[str, dict[str, str]]:
        """The run's path in Airflow's API, and the state of each task at its end."""
        run = fresh("role")
        self.demo.trigger(dag, run, conf)
        path = f"/dags/{dag}/dagRuns/{run}"
        wait_for(f"the end of {dag}", lambda: self.demo.rest(path)["state"] in ("success", "failed"))
        tasks = self.demo.rest(f"{path}/taskInstances")["task_instances"]
        return path, {task["task_id"]: task["state"] for task in tasks}

    def returned(self, path: str, task: str) -> Any:
        found = self.demo.rest(f"{path}/taskInstances/{task}/xcomEntries/return_value")["value"]
        try:
            return json.loads(found)
        except ValueError:
            return found

    def log(self, path: str, task: str) -> str:
        return str(self.demo.rest(f"{path}/taskInstances/{task}/logs/1")["content"]).replace("\\'", "'")

    def who(self, **conf: Any) -> dict[str, Any]:
        path, states = self.run("role_identity", self.conf(**conf))
        assert states["who"] == "success", self.log(path, "who")
        found: dict[str, Any] = self.returned(path, "who")
        return found

    def events(self) -> list[tuple[str, str]]:
        site = self.demo.site
        with psycopg.connect(f"{site.installation.postgres_url}/aerodrome") as connection:
            query = "SELECT type, message FROM events WHERE environment_id = %s ORDER BY id"
            return list(connection.execute(query, (traces.id_of(site, self.demo.name),)).fetchall())


def allow(place: Place) -> dict[str, Any]:
    """What the role may besides reading its bucket."""
    site, word = place.demo.site, place.word
    home = f"{site.installation.region}:{site.installation.account}"
    rights = {
        f"arn:aws:s3:::{place.demo.bucket}/granted/*": ["s3:PutObject"],
        f"arn:aws:sqs:{home}:{word}": [
            "sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:GetQueueAttributes",
        ],
        f"arn:aws:secretsmanager:{home}:secret:{word}-??????": ["secretsmanager:GetSecretValue"],
        f"arn:aws:secretsmanager:{home}:secret:airflow/*": ["secretsmanager:GetSecretValue"],
        f"arn:aws:ssm:{home}:parameter/{word}": ["ssm:GetParameter"],
        f"arn:aws:ssm:{home}:parameter/airflow/*": ["ssm:GetParameter"],
    }  # fmt: skip
    statements = [{"Effect": "Allow", "Action": actions, "Resource": resource} for resource, actions in rights.items()]
    return {"Version": "2012-10-17", "Statement": statements}


@pytest.fixture(scope="module")
def place(demo: Demo) -> Iterator[Place]:
    """What is made for the tests goes again."""
    site, word = demo.site, fresh("role")
    described = site.client("mwaa").get_environment(Name=demo.name)["Environment"]
    sqs, secrets, ssm = site.client("sqs"), site.client("secretsmanager"), site.client("ssm")
    made = Place(
        demo, described["ExecutionRoleArn"].rpartition("/")[2], word, sqs.create_queue(QueueName=word)["QueueUrl"]
    )
    other = sqs.create_queue(QueueName=f"{word}-other")["QueueUrl"]
    for name in (word, f"{word}-other"):
        secrets.create_secret(Name=name, SecretString=f"secret of {name}")
        ssm.put_parameter(Name=f"/{name}", Value=f"parameter of {name}", Type="SecureString")
    iam, s3, key = site.client("iam"), site.client("s3"), f"dags/{DAGS.name}"
    iam.put_role_policy(RoleName=made.role, PolicyName=word, PolicyDocument=json.dumps(allow(made)))
    s3.put_object(Bucket=demo.bucket, Key=key, Body=DAGS.read_bytes())
    try:
        wait_for("the DAGs in Airflow", lambda: demo.rest("/dags?dag_id_pattern=role_")["total_entries"] == 3)
        yield made
    finally:
        s3.delete_object(Bucket=demo.bucket, Key=key)
        iam.delete_role_policy(RoleName=made.role, PolicyName=word)
        for url in (made.queue, other):
            sqs.delete_queue(QueueUrl=url)
        for name in (word, f"{word}-other"):
            secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
            ssm.delete_parameter(Name=f"/{name}")


def test_operators_sensors_and_hooks_do_what_the_role_may(place: Place) -> None:
    path, states = place.run("role_allowed", place.conf())
    tasks = ("found", "parameter", "publish", "read", "receive", "secret", "write")
    assert states == dict.fromkeys(tasks, "success")
    assert place.returned(path, "secret") == f"secret of {place.word}"
    assert place.returned(path, "parameter") == f"parameter of {place.word}"


def test_what_it_may_not_is_denied_and_the_log_names_the_action(place: Place) -> None:
    path, states = place.run("role_denied", place.conf(allowed=False))
    assert set(states.values()) == {"failed"}
    for task, action in {
        "write": "s3:PutObject",
        "publish": "sqs:SendMessage",
        "secret": "secretsmanager:GetSecretValue",
        "parameter": "ssm:GetParameter",
    }.items():
        log = place.log(path, task)
        assert "AccessDenied" in log, task
        assert re.search(rf"assumed-role/{place.role}/\S+ is not authorized to perform: {action}", log), (task, log)


def test_a_task_is_the_role_and_no_process_holds_a_key(place: Place) -> None:
    site, id_ = place.demo.site, traces.id_of(place.demo.site, place.demo.name)
    found = place.who()
    account = site.installation.account
    assert found["arn"] == f"arn:aws:sts::{account}:assumed-role/{place.role}/AmazonMWAA-{id_}"
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" in found["names"]
    assert (STATIC & {*found["names"]}, found["keys"]) == (set(), [])
    started = dict[str, bytes]()
    for file in (site.layout.run / "launch").glob(f"{id_}.*.env"):
        variables = opening.opened(site.layout, file.stem, file.read_bytes())
        started[file.name.partition(".")[2].rpartition("-")[0]] = variables.encode()
    assert {"scheduler-1", "webserver-1", "worker-1", "triggerer-1"} <= started.keys()
    user = traces.system_user(site, id_)
    for pid in traces.processes(user and user.pw_uid, id_):
        with suppress(OSError):  # it has ended
            started[f"process {pid}"] = Path(f"/proc/{pid}/environ").read_bytes()
    secret = site.variables["AWS_SECRET_ACCESS_KEY"].encode()
    for name, variables in started.items():
        assert not re.search(rb"\bA[KS]IA[A-Z0-9]{12,}", variables), name
        assert not re.search(rf"\b({'|'.join(STATIC)})=".encode(), variables), name
        assert secret not in variables, name
    assert sum(b"AWS_CONTAINER_CREDENTIALS_FULL_URI" in variables for variables in started.values()) >= 5


@contextmanager
def kept_elsewhere(place: Place, backend: str) -> Iterator[None]:
    """A connection and a variable where that backend looks for them."""
    prefix, secrets, ssm = BACKENDS[backend], place.client("secretsmanager"), place.client("ssm")
    kept = {"connections": "postgres://ann:hunter2@db.example:5432/sales", "variables": f"from {prefix}"}
    for kind, value in kept.items():
        name = f"{prefix}/{kind}/kept_elsewhere"
        if prefix.startswith("/"):
            ssm.put_parameter(Name=name, Value=value, Type="SecureString")
        else:
            secrets.create_secret(Name=name, SecretString=value)
    try:
        yield
    finally:
        for kind in kept:
            name = f"{prefix}/{kind}/kept_elsewhere"
            if prefix.startswith("/"):
                ssm.delete_parameter(Name=name)
            else:
                secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


@pytest.fixture
def unchanged(place: Place) -> Iterator[dict[str, Any]]:
    """The environment as it is, and is again afterwards."""
    before = place.client("mwaa").get_environment(Name=place.demo.name)["Environment"]
    yield before
    names = ("AirflowConfigurationOptions", "ExecutionRoleArn", "WebserverAccessMode")
    shown = update(place.demo, **{name: before.get(name, {}) for name in names})
    assert shown["Status"] == "AVAILABLE"


def test_a_secrets_backend_finds_connections_and_variables(place: Place, unchanged: dict[str, Any]) -> None:
    """Configured as MWAA's guide has it, each on one major: an update that replaces all components takes 20 s.

    In an environment whose web server is private, which is one to tasks.
    """
    backend, prefix = list(BACKENDS.items())[place.demo.version.major % len(BACKENDS)]
    places = {f"{kind}_prefix": f"{prefix}/{kind}" for kind in ("connections", "variables")}
    options = dict(unchanged.get("AirflowConfigurationOptions") or {})
    options |= {"secrets.backend": backend, "secrets.backend_kwargs": json.dumps(places)}
    with kept_elsewhere(place, backend):
        shown = update(place.demo, AirflowConfigurationOptions=options, WebserverAccessMode="PRIVATE_ONLY")
        assert shown["Status"] == "AVAILABLE"
        found = place.who(backend=True)
    assert found["connection"] == ["postgres", "db.example", "ann", "hunter2"]
    assert found["variable"] == f"from {prefix}"


def test_another_role_is_the_next_tasks_and_restarts_nothing(place: Place, unchanged: dict[str, Any]) -> None:
    iam, name = place.client("iam"), f"{place.word}-second"
    trust = iam.get_role(RoleName=place.role)["Role"]["AssumeRolePolicyDocument"]
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    before = components(place.demo)
    try:
        refused = _refusal(place, arn)
        assert "Provided role does not have sufficient permissions for s3 location" in refused
        policy = iam.get_role_policy(RoleName=place.role, PolicyName="execution")["PolicyDocument"]
        iam.put_role_policy(RoleName=name, PolicyName="execution", PolicyDocument=json.dumps(policy))
        assert update(place.demo, ExecutionRoleArn=arn)["Status"] == "AVAILABLE"
        assert f":assumed-role/{name}/" in place.who()["arn"]
        assert replaced(before, components(place.demo)) == set()
        assert update(place.demo, ExecutionRoleArn=unchanged["ExecutionRoleArn"])["Status"] == "AVAILABLE"
        assert f":assumed-role/{place.role}/" in place.who()["arn"]
    finally:
        for each in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=each)
        iam.delete_role(RoleName=name)


def _refusal(place: Place, role_arn: str) -> str:
    mwaa = place.client("mwaa")
    with pytest.raises(mwaa.exceptions.ValidationException) as refused:
        mwaa.update_environment(Name=place.demo.name, ExecutionRoleArn=role_arn)
    return str(refused.value)


def test_a_role_that_trusts_us_no_more_gives_no_credentials_until_it_does(place: Place) -> None:
    iam = place.client("iam")
    trust = iam.get_role(RoleName=place.role)["Role"]["AssumeRolePolicyDocument"]
    other = {**trust["Statement"][0], "Principal": {"Service": "ec2.amazonaws.com"}}
    told = len(place.events())
    try:
        iam.update_assume_role_policy(RoleName=place.role, PolicyDocument=json.dumps({**trust, "Statement": [other]}))
        path, states = place.run("role_identity", place.conf())
        assert states["who"] == "failed"
        why = f"{place.role} doesn't trust airflow.amazonaws.com and airflow-env.amazonaws.com for arn:aws:airflow:"
        assert why in place.log(path, "who")
        shown = place.client("mwaa").get_environment(Name=place.demo.name)["Environment"]
        assert shown["Status"] == "AVAILABLE"
        assert "role.refused" in place.demo.site.aerodrome("env", "events", place.demo.name).stdout
        assert any(type_ == "role.refused" and why in message for type_, message in place.events()[told:])
    finally:
        iam.update_assume_role_policy(RoleName=place.role, PolicyDocument=json.dumps(trust))
    assert f":assumed-role/{place.role}/" in place.who()["arn"]
    types = [type_ for type_, _ in place.events()[told:]]
    assert [type_ for type_ in types if type_.startswith("role.")] == ["role.refused", "role.granted"]


def test_a_kill_of_the_control_plane_is_an_outage_of_seconds(place: Place) -> None:
    """Who has credentials keeps them. botocore asks for the first ones three times, a second apart."""
    run = fresh("role")
    place.demo.trigger("role_identity", run, place.conf(seconds=15))
    path = f"/dags/role_identity/dagRuns/{run}"
    task = f"{path}/taskInstances/again_and_again"

    def has_credentials() -> bool:
        try:
            return bool(place.demo.rest(f"{task}/xcomEntries/has_credentials"))
        except ClientError:  # 404: not yet
            return False

    wait_for("the task at work", has_credentials)
    kill_control_plane(place.demo.site)

    def over() -> bool:
        try:
            return place.demo.rest(path)["state"] in ("success", "failed")
        except (ClientError, BotoCoreError):
            return False

    wait_for("the end of the task", over)
    assert place.demo.rest(task)["state"] == "success", place.log(path, "again_and_again")
    found = place.returned(path, "again_and_again")
    assert found["held"]
    assert found["well"] > 20
    assert found["answered"], found

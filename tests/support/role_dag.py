"""DAGs that use AWS as anybody's do, with the Amazon provider and nothing configured: as the execution role.

`conf` of a run: `bucket`, `queue` (a URL), `secret`, `parameter`; of `role_identity` besides `seconds`, `backend`.
Run on Airflow 2.11 and 3.
"""

from __future__ import annotations

import json
import os
import re
import time

import botocore.session
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.hooks.secrets_manager import SecretsManagerHook
from airflow.providers.amazon.aws.hooks.ssm import SsmHook
from airflow.providers.amazon.aws.hooks.sts import StsHook
from airflow.providers.amazon.aws.operators.s3 import S3CreateObjectOperator
from airflow.providers.amazon.aws.operators.sqs import SqsPublishOperator
from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from airflow.providers.amazon.aws.sensors.sqs import SqsSensor
from botocore.exceptions import CredentialRetrievalError

try:
    from airflow.sdk import Variable, dag, get_current_context, task
    from airflow.sdk.bases.hook import BaseHook
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task
    from airflow.hooks.base import BaseHook
    from airflow.models import Variable
    from airflow.operators.python import get_current_context

BUCKET, QUEUE = "{{ dag_run.conf['bucket'] }}", "{{ dag_run.conf['queue'] }}"
OPTIONS = {"schedule": None, "is_paused_upon_creation": False, "tags": ["e2e"]}


def conf() -> dict[str, str]:
    return get_current_context()["dag_run"].conf


def created(name: str, folder: str) -> S3CreateObjectOperator:
    return S3CreateObjectOperator(
        task_id=name, s3_bucket=BUCKET, s3_key=f"{folder}/{{{{ run_id }}}}", data="{{ run_id }}", replace=True
    )


def published(name: str) -> SqsPublishOperator:
    return SqsPublishOperator(task_id=name, sqs_queue=QUEUE, message_content="{{ run_id }}")


@dag(dag_id="role_allowed", **OPTIONS)
def role_allowed():
    @task
    def read() -> None:
        context = get_current_context()
        key = f"granted/{context['run_id']}"
        assert S3Hook().read_key(key, context["dag_run"].conf["bucket"]) == context["run_id"]

    @task
    def secret() -> str:
        return SecretsManagerHook().get_secret(conf()["secret"])

    @task
    def parameter() -> str:
        return SsmHook().get_parameter_value(conf()["parameter"])

    found = S3KeySensor(
        task_id="found", bucket_name=BUCKET, bucket_key="granted/{{ run_id }}", poke_interval=1, timeout=60
    )
    created("write", "granted") >> found >> read()
    published("publish") >> SqsSensor(task_id="receive", sqs_queue=QUEUE, poke_interval=1, timeout=60)
    secret()
    parameter()


@dag(dag_id="role_denied", **OPTIONS)
def role_denied():
    """Each task does what the role may not: with another folder, queue, secret and parameter."""

    @task
    def secret() -> None:
        SecretsManagerHook().get_secret(conf()["secret"])

    @task
    def parameter() -> None:
        SsmHook().get_parameter_value(conf()["parameter"])

    created("write", "denied")
    published("publish")
    secret()
    parameter()


@dag(dag_id="role_identity", **OPTIONS)
def role_identity():
    @task
    def who() -> str:
        """Who a task is to AWS, and what of AWS its process was given; `backend`: what is found through Airflow."""
        found: dict[str, object] = {"arn": StsHook().conn.get_caller_identity()["Arn"]}
        found["names"] = sorted(name for name in os.environ if name.startswith("AWS_"))
        found["keys"] = sorted(
            name for name, value in os.environ.items() if re.search(r"\bA[KS]IA[A-Z0-9]{12,}", value)
        )
        if conf().get("backend"):
            connection = BaseHook.get_connection("kept_elsewhere")
            found["connection"] = [connection.conn_type, connection.host, connection.login, connection.password]
            found["variable"] = Variable.get("kept_elsewhere")
        return json.dumps(found)

    @task
    def again_and_again() -> str:
        """Asks for credentials as a new process does, for so many seconds: how often that went well, and the failures.

        XCom `has_credentials` says that it begins. `held`: whether the credentials that it had at first could be used
        all the time. `answered`: whether the last of all was. Failures are in words.
        """
        first = botocore.session.Session().get_credentials() if conf().get("seconds") else None
        get_current_context()["ti"].xcom_push("has_credentials", bool(first))
        begun, well, held, answered, failures = time.monotonic(), 0, True, False, []
        while time.monotonic() < begun + float(conf().get("seconds", 0)):
            try:
                botocore.session.Session().get_credentials().get_frozen_credentials()
                well, answered = well + 1, True
            except CredentialRetrievalError as error:
                answered = False
                failures.append(str(error))
            held = held and bool(first.get_frozen_credentials().access_key)
            time.sleep(0.1)
        return json.dumps({"well": well, "held": held, "answered": answered, "failures": failures})

    who()
    again_and_again()


role_allowed()
role_denied()
role_identity()

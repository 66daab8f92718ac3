"""A DAG that works in another environment, with all that the Amazon provider has for MWAA; nothing is configured.

`conf` of a run: `environment` and `major` of the other one. Runs on Airflow 2.11 and 3, against both. Tasks try again,
as they do in real life: a call that takes more than 10 s, MWAA's limit and the hook's, fails.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.amazon.aws.hooks.mwaa import MwaaHook
from airflow.providers.amazon.aws.operators.mwaa import MwaaTriggerDagRunOperator
from airflow.providers.amazon.aws.sensors.mwaa import MwaaDagRunSensor, MwaaTaskSensor
from botocore.exceptions import ClientError

try:
    from airflow.sdk import dag, get_current_context, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task
    from airflow.operators.python import get_current_context

ENVIRONMENT = "{{ dag_run.conf['environment'] }}"
OTHER = {
    "external_env_name": ENVIRONMENT,
    "external_dag_id": "hello",
    "external_dag_run_id": "{{ ti.xcom_pull(task_ids='trigger')['RestApiResponse']['dag_run_id'] }}",
    "poke_interval": 1,
}


def triggered(name: str, **options: object) -> MwaaTriggerDagRunOperator:
    return MwaaTriggerDagRunOperator(
        task_id=name,
        env_name=ENVIRONMENT,
        trigger_dag_id="hello",
        trigger_run_id="{{ run_id }}-{{ ti.task_id }}-{{ ti.try_number }}",
        logical_date="{{ ti.start_date.isoformat() }}",
        conf={"run": "{{ run_id }}", "task": "{{ ti.task_id }}"},
        waiter_delay=1,
        waiter_max_attempts=100,
        **options,
    )


@dag(
    dag_id="elsewhere",
    schedule=None,
    is_paused_upon_creation=False,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=1)},
    tags=["e2e"],
)
def elsewhere():
    @task
    def hook():
        conf = get_current_context()["dag_run"].conf
        mwaa, asked = MwaaHook(), {"env_name": conf["environment"], "method": "GET"}
        for how in ({}, {"generate_local_token": True, "airflow_version": conf["major"]}):
            assert mwaa.invoke_rest_api(path="/dags/hello", **asked, **how)["RestApiResponse"]["dag_id"] == "hello"
        try:
            mwaa.invoke_rest_api(path="/dags/no-such-dag", **asked)
        except ClientError as refused:
            if refused.response["Error"]["Code"] != "RestApiClientException":
                raise
            return str(refused)
        raise AssertionError("a DAG that is not there was found")

    hook()
    triggered("trigger_and_wait", wait_for_completion=True)
    triggered("trigger_and_defer", deferrable=True)
    triggered("trigger") >> [
        MwaaDagRunSensor(task_id="run", **OTHER),
        MwaaDagRunSensor(task_id="run_deferred", deferrable=True, **OTHER),
        MwaaTaskSensor(task_id="task", external_task_id="greet", **OTHER),
        MwaaTaskSensor(task_id="task_deferred", external_task_id="greet", deferrable=True, **OTHER),
    ]


elsewhere()

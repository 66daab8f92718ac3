"""AirflowConfigurationOptions as Airflow itself reports them, in every kind of process that can be asked."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from aerodrome.domain.airflow_config import build
from aerodrome.domain.airflow_options import is_blocked, variable
from aerodrome.domain.component import ComponentKind
from support import traces
from support.asking import ask, parsed, update, upload
from support.real_airflow import make_facts
from support.site import Demo, wait_for

PASSWORD, TOKEN = "pw-5f1c2a8e-of-a-user", "token-91d7-of-a-user"
VARIABLES = "asked.json"  # in the DAG folder: what a secrets backend reads


def options(demo: Demo) -> dict[str, str]:
    """Of both majors; some under the names that they had before."""
    id_ = traces.id_of(demo.site, demo.name)
    kwargs = {"variables_file_path": str(demo.site.layout.dags(id_) / VARIABLES)}
    return {
        "core.default_task_retries": "2",
        "core.max_active_tasks_per_dag": "11",
        "mine.answer": "forty two",
        "mine.api_token": TOKEN,
        "scheduler.max_tis_per_query": "23",
        "scheduler.dag_dir_list_interval": "7",
        "celery.worker_autoscale": "4,4",
        "secrets.backend": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
        "secrets.backend_kwargs": json.dumps(kwargs),
        "smtp.smtp_password": PASSWORD,
        "webserver.instance_name": "asked",
        "webserver.expose_config": "True",
        **({"core.sql_alchemy_pool_size": "6"} if demo.version.major < 3 else {}),
    }


OURS = {
    # MWAA's defaults, which a user may override (mwaa-spec 6)
    "core.sensitive_var_conn_names": "proxy,proxies",
    "scheduler.schedule_after_task_execution": "False",
    "scheduler.task_queued_timeout": "1800",
    "usage_data_collection.enabled": "False",
    # and what is forced
    "core.executor": "CeleryExecutor",
    "core.load_examples": "False",
    "operators.default_queue": "default",
    "celery_broker_transport_options.visibility_timeout": "43200",
    "logging.logging_config_class": "aerodrome_airflow.logging_config.LOGGING_CONFIG",
}
MOVED = {  # the names that they have now
    2: {"database.sql_alchemy_pool_size": "6"},
    3: {"api.instance_name": "asked", "api.expose_config": "True", "dag_processor.refresh_interval": "7"},
}
HIDDEN = {2: {}, 3: {"secrets.backend_kwargs": "< hidden >"}}  # Airflow 3's page masks what Airflow calls sensitive


@pytest.fixture
def asked(demo: Demo) -> Iterator[dict[str, str]]:
    """The options set, and taken back at the end."""
    before = demo.site.client("mwaa").get_environment(Name=demo.name)["Environment"]
    s3 = demo.site.client("s3")
    s3.put_object(Bucket=demo.bucket, Key=f"dags/{VARIABLES}", Body=json.dumps({"of_a_backend": "yes"}))
    upload(demo)
    folder = demo.site.layout.dags(traces.id_of(demo.site, demo.name))
    wait_for("the file of the secrets backend", (folder / VARIABLES).exists)
    given = options(demo)
    shown = update(demo, AirflowConfigurationOptions=given)
    assert (shown["Status"], shown["LastUpdate"]["Status"]) == ("AVAILABLE", "SUCCESS")
    yield given
    update(demo, AirflowConfigurationOptions=before.get("AirflowConfigurationOptions", {}))
    s3.delete_object(Bucket=demo.bucket, Key=f"dags/{VARIABLES}")


def test_airflow_reports_what_a_user_set_and_new_tasks_see_a_change_at_once(demo: Demo, asked: dict[str, str]) -> None:
    expected = {**asked, **OURS, **MOVED[demo.version.major]}
    answer = ask(demo, options=list(expected), variables=["of_a_backend"])
    assert answer["options"] == expected
    assert answer["variables"] == {"of_a_backend": "yes"}
    assert "yes" in demo.cli("variables", "get", "of_a_backend").stdout, "the command line knows the secrets backend"
    shown, page = {**asked, **OURS, **HIDDEN[demo.version.major]}, shown_by_web_server(demo)
    assert {name: page.get(name) for name in shown} == shown
    wait_for("the DAG processor's answer", lambda: parsed(demo).get("mine.answer") == "forty two")
    check_secrets(demo)

    update(demo, AirflowConfigurationOptions={**asked, "scheduler.max_tis_per_query": "29"})
    later = ask(demo, options=["scheduler.max_tis_per_query", "mine.answer"])
    assert later["worker"] == answer["worker"], "only the scheduler and the page that shows all are replaced"
    assert later["options"] == {"scheduler.max_tis_per_query": "29", "mine.answer": "forty two"}
    wait_for("the DAG processor's new answer", lambda: parsed(demo).get("scheduler.max_tis_per_query") == "29")


def shown_by_web_server(demo: Demo) -> dict[str, str]:
    sections = demo.rest("/config")["sections"]
    return {f"{section['name']}.{each['key']}": each["value"] for section in sections for each in section["options"]}


def check_secrets(demo: Demo) -> None:
    """They are in no command line, no event, no log, and in no file that others can read."""
    site, id_ = demo.site, traces.id_of(demo.site, demo.name)
    texts = {"events": site.aerodrome("env", "events", demo.name).stdout}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                texts[str(entry)] = (entry / "cmdline").read_text(errors="replace")
            except OSError:
                continue
    for folder in (site.layout.log, site.layout.component_logs(id_), site.layout.logs(id_), site.layout.run / "conf.d"):
        texts |= {str(path): path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()}
    assert [place for place, text in texts.items() if PASSWORD in text or TOKEN in text] == []
    holders = subprocess.run(
        ["grep", "-rlI", "-e", PASSWORD, "-e", TOKEN, site.layout.run, site.layout.environment(id_)],
        capture_output=True, text=True, check=False,
    ).stdout.split()  # fmt: skip
    assert holders, "the components have them from somewhere"
    for holder in map(Path, holders):
        assert not stat.S_IMODE(holder.stat().st_mode) & stat.S_IRWXO, holder


def test_older_names_are_known(demo: Demo) -> None:
    """Airflow takes an option under an older name: that is ours where the option is, and stronger than our defaults."""
    with psycopg.connect(f"{demo.site.installation.postgres_url}/aerodrome") as connection:
        query = "SELECT runtime FROM environments WHERE id = %s"
        (runtime,) = connection.execute(query, (traces.id_of(demo.site, demo.name),)).fetchone() or ("",)
    code = (
        "import json; from airflow.configuration import conf;"
        "print(json.dumps({'.'.join(new): '.'.join(old[:2]) for new, old in conf.deprecated_options.items()}))"
    )
    told = demo.site.run(demo.site.layout.runtime(runtime) / "bin" / "python", "-P", "-c", code).stdout
    names: dict[str, str] = json.loads(told.splitlines()[-1])
    assert names
    open_again = {old for new, old in names.items() if is_blocked(new) and not is_blocked(old)}
    assert open_again == ({"webserver.workers"} if demo.version.major >= 3 else set()), "Airflow 2's"
    facts = make_facts("postgresql://u:p@127.0.0.1:1", "redis://u:p@127.0.0.1:2", "0123456789ab", demo.version.version)
    made = build(facts, ComponentKind.WORKER)
    ours = {*made.variables, *made.unread}
    assert {new: old for new, old in names.items() if variable(new) in ours and not is_blocked(new)} == dict(
        demo.version.old_names
    )

"""Plugins, exports and a runtime of its own in what a component starts with (mwaa-spec 5.3: precedence)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aerodrome.domain import products, versions
from aerodrome.domain.airflow_options import option_of
from aerodrome.domain.component import Component, ComponentKind
from aerodrome.domain.creation import complete
from aerodrome.domain.plan import Plan, Site, build, script_variables
from aerodrome.domain.products import Part
from support.world import OBJECTS, SECRETS, environment

SITE = Site("db:1", "broker:1", "redis", "http://127.0.0.1:1", "http://127.0.0.1:1", {}, "/ca.pem")
BASE, OWN = "3.3.1-py3.11-0123456789ab", "3.3.1-py3.11-ba9876543210"
KINDS = ("scheduler", "webserver", "worker")


def plan(
    exports: dict[str, str] | None = None, tree: str | None = None, runtime: str | None = None, **members: Any
) -> Plan:
    """Of an environment for which these were made."""
    made: dict[Part, dict[str, Any]] = {}
    if exports is not None:
        made[Part.STARTUP] = {"exports": dict.fromkeys(KINDS, exports)}
    if tree is not None:
        made[Part.PLUGINS] = {"tree": tree}
    if runtime is not None:
        made[Part.REQUIREMENTS] = {"runtime": runtime}
    named = {name: value for part in made for name, value in OBJECTS.items() if name.startswith(part)}
    bucket = {"SourceBucketArn": OBJECTS["SourceBucketArn"]}
    found = replace(environment(), desired=complete({**named, **bucket, **members}, strict=False), runtime=BASE)
    for part in Part:  # in their order: requirements depend on the others
        if part in made:
            recipe = products.recipe(found, part, BASE)
            assert recipe is not None
            found = replace(found, made={**found.made, recipe: made[part]})
    return build(found, SECRETS, SITE, BASE)


def sees(component: Component) -> dict[str, str]:
    return {**component.variables, **component.templates, **component.secrets}


def one(made: Plan, kind: ComponentKind = ComponentKind.WORKER) -> dict[str, str]:
    return sees(made.of(kind)[0])


@pytest.mark.parametrize("version", versions.VERSIONS)
def test_everything_runs_with_what_was_made(version: str) -> None:
    made = plan({"MINE": "correct horse"}, "tree", OWN, AirflowVersion=version)
    for component in (*made.components, made.tool):
        assert component.runtime == OWN
        assert component.templates["AIRFLOW__CORE__PLUGINS_FOLDER"] == "{plugins}/tree"
        assert component.secrets["MINE"] == "correct horse"
        assert "correct horse" not in repr(component)
    assert made.runtime == BASE, "databases and repairs go by it"


def test_without_plugins_there_is_a_folder_that_is_not_there() -> None:
    assert one(plan())["AIRFLOW__CORE__PLUGINS_FOLDER"] == "{plugins}/none"


@pytest.mark.parametrize("other", [{"exports": {"A": "2"}}, {"tree": "b"}, {"runtime": OWN}])
def test_another_product_makes_components_of_other_names(other: dict[str, Any]) -> None:
    before = plan({"A": "1"}, "a", BASE)
    after = plan(**{"exports": {"A": "1"}, "tree": "a", "runtime": BASE, **other})
    assert before.names.isdisjoint(after.names)


def test_each_kind_of_container_has_its_own_exports() -> None:
    found = replace(
        environment(), desired=complete({**OBJECTS, "RequirementsS3Path": "", "PluginsS3Path": ""}, strict=False)
    )
    recipe = products.recipe(found, Part.STARTUP, BASE)
    assert recipe is not None
    exports = {kind: {"I_AM": kind} for kind in KINDS}
    made = build(replace(found, made={recipe: {"exports": exports}}), SECRETS, SITE, BASE)
    kinds = {kind: one(made, kind)["I_AM"] for kind in versions.get(versions.DEFAULT_VERSION).components}
    assert kinds == {
        ComponentKind.WEB_SERVER: "webserver",
        ComponentKind.WORKER: "worker",
        ComponentKind.SCHEDULER: "scheduler",
        ComponentKind.DAG_PROCESSOR: "scheduler",
        ComponentKind.TRIGGERER: "scheduler",
    }


def test_exports_are_stronger_than_what_we_set_by_default_and_weaker_than_options() -> None:
    ours, theirs, option = "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT", "77", "scheduler.task_queued_timeout"
    for kind in (ComponentKind.SCHEDULER, ComponentKind.WORKER):
        component = plan({ours: theirs}).of(kind)[0]
        assert {**sees(component), **component.unread}[ours] == theirs
        component = plan({ours: theirs}, AirflowConfigurationOptions={option: "99"}).of(kind)[0]
        assert {**sees(component), **component.unread}[ours] == "99"


def test_an_exported_option_replaces_only_who_reads_it() -> None:
    before, after = plan({}), plan({"AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "9"})
    assert {name.rpartition("-")[0] for name in after.names - before.names} == {"triggerer-1"}


def test_tasks_per_worker_follow_an_export_as_they_follow_an_option() -> None:
    found = one(plan({"AIRFLOW__CELERY__WORKER_CONCURRENCY": "3"}))
    assert (found["AIRFLOW__CELERY__WORKER_CONCURRENCY"], found["AIRFLOW__CELERY__WORKER_AUTOSCALE"]) == ("3", "3,3")


@pytest.mark.parametrize(
    "name",
    [
        "AIRFLOW_HOME",
        "AIRFLOW__CORE__FERNET_KEY",
        "AIRFLOW__CORE__EXECUTOR",
        "AWS_REGION",
        "HOME",
        "MWAA__X",
        "AERODROME_OPTIONS",
    ],
)
def test_what_is_reserved_stays_ours(name: str) -> None:
    assert one(plan({name: "theirs"})).get(name) != "theirs"
    assert plan({name: "theirs"}).names == plan({}).names


@pytest.mark.parametrize("name", ["AIRFLOW_CONN_AWS_DEFAULT", "LANG", "REQUESTS_CA_BUNDLE"])
def test_other_variables_of_a_container_may_be_changed(name: str) -> None:
    component = plan({name: "theirs"}).of(ComponentKind.WORKER)[0]
    assert component.secrets[name] == "theirs"
    assert name not in component.variables


def test_a_path_finds_the_programs_of_the_runtime_that_it_is_used_in() -> None:
    assert one(plan({"PATH": "/opt:{programs}:/bin"}))["PATH"] == "/opt:{programs}:/bin"
    assert "PATH" not in plan({"PATH": "/opt"}).of(ComponentKind.WORKER)[0].secrets


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("AIRFLOW__CORE__LOAD_EXAMPLES", "core.load_examples"),
        ("AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__X", "celery_broker_transport_options.x"),
        ("AIRFLOW__CORE", None),
        ("AIRFLOW____X", None),
        ("AIRFLOW_CONN_MINE", None),
        ("XAIRFLOW__CORE__A", None),
        ("AIRFLOW__core__a", None),
    ],
)
def test_which_variables_are_options(name: str, option: str | None) -> None:
    assert option_of(name) == option


def test_a_script_sees_where_it_is_and_gets_credentials_and_no_other_secret() -> None:
    found = script_variables(replace(environment(), desired=complete({}, strict=False)), SECRETS, SITE)
    assert found["AIRFLOW_ENV_NAME"] == "demo"
    assert found["AWS_REGION"] == "eu-west-1"
    assert found["AWS_CONTAINER_AUTHORIZATION_TOKEN"] == SECRETS.credentials_token
    assert not {SECRETS.fernet_key, SECRETS.database_password, SECRETS.jwt_secret} & set(found.values())
    assert not any("SQL_ALCHEMY" in name or "BROKER" in name for name in found)

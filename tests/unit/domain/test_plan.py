from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from aerodrome.domain import versions
from aerodrome.domain.component import ComponentKind, ComponentState, Phase
from aerodrome.domain.creation import complete
from aerodrome.domain.environment import Environment, Status
from aerodrome.domain.plan import Plan, Site, broker_prefix, build, in_free_names
from support.world import SECRETS, environment

SITE = Site(
    "127.0.0.1:4611", "127.0.0.1:4612", "redis", "http://127.0.0.1:4610", "http://127.0.0.1:4610", {}, "/ca.pem"
)


def made(**members: Any) -> Environment:
    return replace(environment(), desired=complete(members, strict=False))


def plan(**members: Any) -> Plan:
    return build(made(**members), SECRETS, SITE, "3.3.1-py3.11-abc")


def test_one_of_each_by_default() -> None:
    kinds = [component.kind for component in plan().components]
    assert sorted(kinds) == sorted(
        [
            ComponentKind.WEB_SERVER,
            ComponentKind.SCHEDULER,
            ComponentKind.DAG_PROCESSOR,
            ComponentKind.TRIGGERER,
            ComponentKind.WORKER,
        ]
    )


def test_equal_inputs_give_equal_plans() -> None:
    assert plan() == plan()


def test_names_are_dns_labels_with_slot_and_hash() -> None:
    for component in plan(MinWorkers=3).components:
        assert re.fullmatch(r"[a-z][a-z-]*-\d+-[0-9a-f]{6}", component.name)
        assert component.name.startswith(component.slot)
        assert len(component.name) <= 40


def test_more_workers_leave_the_first_one_as_it_is() -> None:
    assert plan(MinWorkers=1).names < plan(MinWorkers=2, MaxWorkers=10).names


WEB, SCHEDULER, PROCESSOR = ComponentKind.WEB_SERVER, ComponentKind.SCHEDULER, ComponentKind.DAG_PROCESSOR
TRIGGERER, WORKER = ComponentKind.TRIGGERER, ComponentKind.WORKER
ALL = {WEB, SCHEDULER, PROCESSOR, TRIGGERER, WORKER}


def levels(module: str) -> dict[str, Any]:
    return {"LoggingConfiguration": {module: {"Enabled": True, "LogLevel": "DEBUG"}}}


def option(name: str) -> dict[str, Any]:
    return {"AirflowConfigurationOptions": {name: "3"}}


# What an update of each member replaces: docs/explanation/updates.md shows the same.
REPLACED: list[tuple[dict[str, Any], set[ComponentKind]]] = [
    ({"MaxWorkers": 20}, set()),
    ({"MinWorkers": 3}, set()),
    ({"MaxWebservers": 3}, set()),
    ({"WeeklyMaintenanceWindowStart": "MON:00:30"}, set()),
    ({"WebserverAccessMode": "PUBLIC_ONLY"}, set()),
    ({"NetworkConfiguration": {"SecurityGroupIds": ["sg-2"]}}, set()),
    ({"ExecutionRoleArn": "arn:aws:iam::100000000001:role/other"}, set()),
    ({"SourceBucketArn": "arn:aws:s3:::other", "DagS3Path": "elsewhere"}, set()),
    ({"Schedulers": 2}, {SCHEDULER}),  # core.parallelism is a scheduler's share
    ({"EnvironmentClass": "mw1.2xlarge"}, {SCHEDULER, PROCESSOR, TRIGGERER, WORKER}),
    (levels("DagProcessingLogs"), {PROCESSOR}),
    (levels("SchedulerLogs"), {SCHEDULER, TRIGGERER}),
    (levels("TaskLogs"), {WORKER}),
    (levels("WebserverLogs"), {WEB}),
    (levels("WorkerLogs"), {WORKER}),
    (option("scheduler.max_tis_per_query"), {SCHEDULER}),
    (option("core.parallelism"), {SCHEDULER}),
    (option("api.instance_name"), {WEB}),
    (option("webserver.instance_name"), {WEB}),
    (option("fab.navbar_color"), {WEB}),
    (option("triggerer.capacity"), {TRIGGERER}),
    (option("dag_processor.parsing_processes"), {PROCESSOR}),
    (option("scheduler.parsing_processes"), {PROCESSOR}),
    (option("celery.worker_concurrency"), {WORKER}),
    (option("celery.worker_autoscale"), {WORKER}),
    (option("celery.operation_timeout"), {SCHEDULER, WORKER}),
    (option("workers.min_heartbeat_interval"), {WORKER}),
    (option("scheduler.scheduler_health_check_threshold"), ALL),
    (option("core.default_task_retries"), ALL),
    (option("logging.logging_level"), ALL),
    (option("database.sql_alchemy_pool_recycle"), ALL),
    (option("smtp.smtp_port"), ALL),
    (option("my_own.thing"), ALL),
]


@pytest.mark.parametrize("version", versions.VERSIONS)
@pytest.mark.parametrize(("members", "kinds"), REPLACED)
def test_only_those_that_read_it_are_replaced(members: dict[str, Any], kinds: set[ComponentKind], version: str) -> None:
    before, after = plan(AirflowVersion=version), plan(AirflowVersion=version, **members)
    assert {component.kind for component in before.components if component.name not in after.names} == kinds


def test_another_revision_replaces_all() -> None:
    again = build(replace(made(), revision=7), SECRETS, SITE, "3.3.1-py3.11-abc")
    assert plan().names.isdisjoint(again.names)


def test_confinement_is_part_of_a_name_so_that_a_switch_replaces_components() -> None:
    confined = build(made(), SECRETS, replace(SITE, confined=True), "3.3.1-py3.11-abc")
    assert all(component.confined for component in (*confined.components, confined.tool))
    assert not any(component.confined for component in plan().components)
    assert not confined.names & plan().names


def test_while_one_set_takes_over_from_another_both_may_connect() -> None:
    small, large = complete({"MaxWorkers": 2}, strict=False), complete({"MaxWorkers": 20}, strict=False)

    def limit(status: Status, before: dict[str, Any], now: dict[str, Any]) -> int:
        changing = replace(environment(), status=status, applied=before, desired=now)
        return build(changing, SECRETS, SITE, "r").connection_limit

    alone = {name: limit(Status.AVAILABLE, each, each) for name, each in (("small", small), ("large", large))}
    assert alone["small"] < alone["large"]
    for before, now in ((small, large), (large, small)):
        assert limit(Status.UPDATING, before, now) >= alone["small"] + alone["large"]


def test_secrets_are_in_secrets_alone() -> None:
    secrets = replace(
        SECRETS,
        database_password="pass-db",
        broker_password="pass-broker",
        fernet_key="key-fernet",
        jwt_secret="jwt-secret",
        secret_key="web-secret",
        identity_secret="id-secret",
        credentials_token="cred-token",
    )
    words = ["pass-db", "pass-broker", "key-fernet", "jwt-secret", "web-secret", "id-secret", "cred-token"]
    built = build(made(), secrets, SITE, "r")
    for component in (*built.components, built.tool):
        open_text = repr((component.command, component.variables, component.templates))
        assert not [word for word in words if word in open_text]
    workers = [dict(component.secrets) for component in built.of(ComponentKind.WORKER)]
    assert all("id-secret" not in repr(secrets) for secrets in workers), "only the web server may believe the gateway"


def test_two_environments_share_no_broker_key() -> None:
    assert broker_prefix("a") != broker_prefix("b")
    other = replace(made(), id="ba9876543210")
    assert "0123456789ab" not in repr(build(other, SECRETS, SITE, "r"))


@pytest.mark.parametrize(
    ("observed", "suffix"),
    [
        ({}, ""),
        ({"": Phase.RUNNING}, ""),
        ({"": Phase.FAILED}, ""),
        ({"": Phase.DRAINING}, "x2"),
        ({"": Phase.DRAINING, "x2": Phase.STARTING}, "x2"),
        ({"": Phase.DRAINING, "x2": Phase.DRAINING}, "x3"),
        ({"x2": Phase.RUNNING}, "x2"),
        ({"x2": Phase.DRAINING}, "x3"),
        ({"": Phase.RUNNING, "x2": Phase.RUNNING}, ""),
        ({"x": Phase.RUNNING, "x2y": Phase.RUNNING, "~123": Phase.DRAINING}, ""),
    ],
)
def test_a_name_that_drains_is_not_to_be_had(observed: dict[str, Phase], suffix: str) -> None:
    """Who has another name keeps it, and no other component is concerned."""
    planned = plan()
    (worker,) = planned.of(WORKER)
    states = {f"{worker.name}{end}": ComponentState(f"{worker.name}{end}", phase) for end, phase in observed.items()}
    found = in_free_names(planned, states)
    (renamed,) = found.of(WORKER)
    assert renamed == replace(worker, name=f"{worker.name}{suffix}")
    assert found.names - planned.names == ({renamed.name} if suffix else set())
    assert found == in_free_names(found, states), "and says so again"

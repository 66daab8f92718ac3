from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from aerodrome.domain.component import ComponentKind
from aerodrome.domain.creation import complete
from aerodrome.domain.environment import Environment
from aerodrome.domain.plan import Plan, Site, broker_prefix, build
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


@pytest.mark.parametrize("members", [{"AirflowConfigurationOptions": {"core.parallelism": "3"}}])
def test_a_changed_option_changes_the_names(members: dict[str, Any]) -> None:
    assert plan().names.isdisjoint(plan(**members).names)


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

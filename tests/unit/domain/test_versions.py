from __future__ import annotations

import re

import pytest

from aerodrome.domain import versions
from aerodrome.domain.component import ComponentKind
from aerodrome.errors import Permanent

PLACES = {
    "name": "worker-1-0000",
    "home": "/h",
    "dags": "/d",
    "plugins": "/p",
    "logs": "/l",
    "port": {"web": "8080"},
    "address": {"webserver-1": "127.0.0.1:8080"},
}


@pytest.mark.parametrize("version", versions.VERSIONS.values(), ids=lambda version: version.version)
class TestEveryVersion:
    def test_its_commands_use_known_placeholders_and_declared_ports_only(
        self, version: versions.AirflowVersion
    ) -> None:
        for template in version.components.values():
            ports = {"port": dict.fromkeys(template.ports, "8080")}
            filled = [word.format(**PLACES | ports) for word in template.command]
            assert not [word for word in filled if "{" in word]
            assert filled[0] == "python"

    def test_it_has_what_a_distributed_environment_needs(self, version: versions.AirflowVersion) -> None:
        assert set(version.components) == set(ComponentKind) - {ComponentKind.JOB}
        for kind, template in version.components.items():
            assert template.kind is kind
            assert (template.health_path is None) == (not template.ports)

    def test_only_the_web_server_listens(self, version: versions.AirflowVersion) -> None:
        assert [kind for kind, template in version.components.items() if template.ports] == [ComponentKind.WEB_SERVER]

    def test_a_worker_may_take_as_long_as_the_longest_task(self, version: versions.AirflowVersion) -> None:
        assert version.components[ComponentKind.WORKER].grace >= 12 * 3600

    def test_option_names_are_options(self, version: versions.AirflowVersion) -> None:
        for name in (*version.names.values(), *version.essential, *version.opinionated):
            assert re.fullmatch(r"[a-z_]+\.[a-z_]+", name)

    def test_the_python_of_mwaa_is_tried_first(self, version: versions.AirflowVersion) -> None:
        assert version.pythons[0] == version.mwaa_python


def test_an_unknown_version_says_what_there_is() -> None:
    assert versions.exists("3.3.1")
    assert not versions.exists("3.3")
    with pytest.raises(Permanent, match=r"Airflow '1\.10\.12' .*3\.3\.1"):
        versions.get("1.10.12")


def test_the_node_name_is_celerys_own_form() -> None:
    assert versions.worker_node("worker-1-ab12") == "celery@worker-1-ab12"


DOCUMENT: dict[str, object] = {
    "metadatabase": {"status": "healthy"},
    "scheduler": {"status": "unhealthy", "latest_scheduler_heartbeat": None},
    "triggerer": {"status": None},
    "dag_processor": {"status": "healthy"},
}


class TestHealthDocument:
    def problems(self, document: dict[str, object], *kinds: ComponentKind) -> list[str]:
        return versions.unhealthy_parts(versions.get("3.3.1"), document, kinds)

    def test_names_each_part_that_is_not_well(self) -> None:
        found = self.problems(DOCUMENT, ComponentKind.SCHEDULER, ComponentKind.TRIGGERER, ComponentKind.WORKER)
        assert found == ["scheduler is unhealthy", "triggerer is not reporting"]

    def test_asks_only_for_what_is_planned(self) -> None:
        assert self.problems(DOCUMENT, ComponentKind.DAG_PROCESSOR) == []

    def test_an_answer_of_another_shape_is_not_healthy(self) -> None:
        assert self.problems({"metadatabase": "healthy"}) == ["metadatabase is not reporting"]

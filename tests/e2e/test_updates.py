"""UpdateEnvironment on the real thing: what is replaced, what runs on, and what becomes of one that can't work."""

from __future__ import annotations

from typing import Any

from support import traces
from support.site import Demo, wait_for

_SETTLED = ("AVAILABLE", "UPDATE_FAILED", "UNAVAILABLE")


def components(demo: Demo) -> dict[str, str]:
    """Name -> process id and start time."""
    environment = traces.row(demo.site, demo.name, demo.site.installation.region)
    assert environment is not None
    pids = (demo.site.layout.run / "pids").glob(f"{environment.id}.*")
    return {path.name.partition(".")[2]: path.read_text() for path in pids}


def update(demo: Demo, **members: Any) -> dict[str, Any]:
    """The environment once the update is over."""
    mwaa = demo.site.client("mwaa")
    mwaa.update_environment(Name=demo.name, **members)

    def over() -> dict[str, Any] | None:
        found: dict[str, Any] = mwaa.get_environment(Name=demo.name)["Environment"]
        return found if found["Status"] in _SETTLED else None

    shown: dict[str, Any] = wait_for("the end of the update", over, 240)
    return shown


def replaced(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """The slots of the components that are new; none of the others was started again."""
    kept = before.keys() & after.keys()
    assert all(before[name] == after[name] for name in kept)
    return {name.rpartition("-")[0] for name in after.keys() - kept}


def test_only_the_scheduler_is_replaced_for_an_option_of_its_own(demo: Demo) -> None:
    before = components(demo)
    shown = update(demo, AirflowConfigurationOptions={"scheduler.max_tis_per_query": "20"})
    assert (shown["Status"], shown["LastUpdate"]["Status"]) == ("AVAILABLE", "SUCCESS")
    assert replaced(before, components(demo)) == {"scheduler-1"}


def test_a_new_web_server_takes_over_and_the_workers_stay(demo: Demo) -> None:
    """On Airflow 3 tasks talk to it: those of a worker that knew the old one must find the new."""
    before = components(demo)
    option = f"{demo.version.names['secret_key'].partition('.')[0]}.instance_name"
    update(demo, AirflowConfigurationOptions={"scheduler.max_tis_per_query": "20", option: "renamed"})
    assert replaced(before, components(demo)) == {"webserver-1"}
    run = f"after-update-{demo.version.major}"
    demo.trigger("hello", run)

    def succeeded() -> bool:
        state = demo.rest(f"/dags/hello/dagRuns/{run}")["state"]
        assert state != "failed"
        return bool(state == "success")

    wait_for("a run whose worker is older than the web server", succeeded)


def test_workers_come_and_go_without_a_restart(demo: Demo) -> None:
    before = components(demo)
    update(demo, MinWorkers=2, MaxWorkers=7)
    assert replaced(before, components(demo)) == {"worker-2"}
    assert before.keys() <= components(demo).keys()
    update(demo, MinWorkers=1)
    wait_for("the second worker to be gone", lambda: components(demo).keys() == before.keys())
    assert components(demo) == before


def test_what_airflow_refuses_is_rolled_back_with_its_own_words(demo: Demo) -> None:
    """The old scheduler runs on all the time."""
    before = components(demo)
    options = {"scheduler.max_tis_per_query": "many"}
    shown = update(demo, AirflowConfigurationOptions=options)
    assert shown["Status"] == "UPDATE_FAILED"
    assert shown["LastUpdate"]["Status"] == "FAILED"
    assert "max_tis_per_query" in shown["LastUpdate"]["Error"]["ErrorMessage"]
    assert shown.get("AirflowConfigurationOptions") != options
    assert components(demo) == before
    again = update(demo, WorkerReplacementStrategy="GRACEFUL")
    assert again["Status"] == "AVAILABLE", "an update with nothing in it starts everything anew"
    assert components(demo).keys().isdisjoint(before.keys())

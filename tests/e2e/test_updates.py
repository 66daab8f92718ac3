"""UpdateEnvironment on the real thing: what is replaced, what runs on, and what becomes of one that can't work."""

from __future__ import annotations

import pytest

from aerodrome.domain import versions
from support import traces
from support.asking import Attempt, attempts, begin, fresh, release, settled, update, upload
from support.site import Demo, wait_for

NEWEST = pytest.mark.parametrize("demo", [versions.DEFAULT_VERSION], indirect=True)


def components(demo: Demo) -> dict[str, str]:
    """Name -> process id and start time."""
    environment = traces.row(demo.site, demo.name, demo.site.installation.region)
    assert environment is not None
    pids = (demo.site.layout.run / "pids").glob(f"{environment.id}.*")
    return {path.name.partition(".")[2]: path.read_text() for path in pids}


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


@NEWEST
def test_what_airflow_refuses_is_rolled_back_with_its_own_words(demo: Demo) -> None:
    """The old scheduler runs on all the time."""
    before = components(demo)
    value = "more than a few"
    options = {"scheduler.max_tis_per_query": value}
    shown = update(demo, AirflowConfigurationOptions=options)
    assert shown["Status"] == "UPDATE_FAILED"
    assert shown["LastUpdate"]["Status"] == "FAILED"
    message = shown["LastUpdate"]["Error"]["ErrorMessage"]
    assert "<scheduler.max_tis_per_query>" in message, "Airflow repeats the value; we have the option's name instead"
    assert value not in message + demo.site.aerodrome("env", "events", demo.name).stdout
    assert shown.get("AirflowConfigurationOptions") != options
    assert components(demo) == before


@NEWEST
def test_graceful_lets_old_workers_finish_while_new_ones_take_new_tasks(demo: Demo) -> None:
    """Nothing is killed and nothing retried, though everything else is replaced around the task."""
    upload(demo)
    run, later = fresh("graceful"), fresh("later")
    old, before = begin(demo, run).worker, components(demo).keys()
    mwaa = demo.site.client("mwaa")
    mwaa.update_environment(Name=demo.name, WorkerReplacementStrategy="GRACEFUL")
    wait_for("the old worker alone of the old ones", lambda: components(demo).keys().isdisjoint(before - {old}), 240)
    new = begin(demo, later).worker
    assert new != old
    release(demo, later)
    shown = mwaa.get_environment(Name=demo.name)["Environment"]
    assert (shown["Status"], shown["LastUpdate"]["Status"]) == ("UPDATING", "PENDING")
    release(demo, run)
    assert attempts(demo, run) == [Attempt("begin", 1, old), Attempt("end", 1, old)]
    shown = settled(demo)
    assert (shown["Status"], shown["LastUpdate"]["WorkerReplacementStrategy"]) == ("AVAILABLE", "GRACEFUL")
    assert old not in components(demo)


def test_forced_ends_tasks_and_airflow_retries_them_at_once(demo: Demo) -> None:
    """The workers alone are replaced: nothing else is to blame for what becomes of the task."""
    upload(demo)
    run, option = fresh("forced"), "logging.celery_stdout_stderr_separation"
    before = demo.site.client("mwaa").get_environment(Name=demo.name)["Environment"]
    options = before.get("AirflowConfigurationOptions", {})
    options = {**options, option: str(options.get(option) != "True")}
    old = begin(demo, run).worker
    shown = update(demo, WorkerReplacementStrategy="FORCED", AirflowConfigurationOptions=options)
    assert (shown["Status"], shown["LastUpdate"]["WorkerReplacementStrategy"]) == ("AVAILABLE", "FORCED")
    assert old not in components(demo)
    wait_for("the second attempt", lambda: len(attempts(demo, run)) == 2, 60)
    release(demo, run)
    first, second, end = attempts(demo, run)
    assert first == Attempt("begin", 1, old)
    assert (second.word, second.number) == ("begin", 2)
    assert second.worker in components(demo)
    assert end == Attempt("end", 2, second.worker)

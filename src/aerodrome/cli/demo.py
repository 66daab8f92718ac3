"""`aerodrome demo`: from nothing to a DAG run whose result is checked, every phase shown and timed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.panel import Panel
from rich.table import Table

from aerodrome.cli import account, demo_data
from aerodrome.cli.connection import Connection, connected
from aerodrome.cli.demo_run import Airflow, trigger, wait_for_dag, watch_run
from aerodrome.cli.env import creation_members
from aerodrome.cli.output import Steps, err, out
from aerodrome.cli.progress import Times
from aerodrome.cli.watch import get_environment, watch
from aerodrome.cli.webserver import sign_in_link
from aerodrome.errors import AerodromeError, Permanent
from aerodrome.settings import Settings

DAG = "flights"
INPUT, OUTPUT, DAGS = "input/flights.csv", "output/report.json", "dags"
_MAPPED = 8  # tasks that the demo must show, at least
_PATIENCE = 300.0  # seconds for Airflow to find the DAG, and for the run

Name = Annotated[str, typer.Option(help="Name of the environment.")]
Version = Annotated[
    str | None, typer.Option("--airflow-version", help="Version of Airflow.", show_default="the newest")
]


@dataclass(frozen=True, slots=True)
class Outcome:
    report: Mapping[str, Any]
    version: str


def demo(name: Name = "demo", airflow_version: Version = None) -> None:
    """Start everything, create an environment, run a DAG in it, check its result. Run again, it reuses what is there.

    All stays up until `aerodrome down`.
    """
    from aerodrome.cli.starting import bring_up  # here: it takes long, and the other commands don't need it

    times, parts = Times(), list[tuple[str, str, float]]()
    with _explained(name):
        with Steps() as steps:
            asyncio.run(bring_up(Settings(), steps))
        times.phase("Machine room")
        with connected() as connection:
            bucket = _upload(connection, name)
            times.phase("Bucket, role, upload")
            major, steps_taken = _environment(connection, name, bucket, airflow_version)
            parts += [("Environment", title, seconds) for title, seconds in steps_taken]
            times.phase("Environment")
            airflow = Airflow(connection.client("mwaa"), name, major)
            outcome = _run(connection, airflow, bucket, times)
            _show(connection, name, bucket, outcome)
            times.print(out, parts)
            _show_next(connection, name, bucket)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        err.print("\nStopped. Run `aerodrome demo` again to go on from here; `aerodrome down` stops what is up.")
        raise typer.Exit(130) from None
    except AerodromeError:
        err.print(
            f"The demo failed; the reason is below. What happened: aerodrome env events {name}. "
            "What runs: aerodrome status. Once it is mended, `aerodrome demo` goes on from here.",
            style="yellow",
            markup=False,
        )
        raise


def _upload(connection: Connection, name: str) -> str:
    """The bucket with DAGs and input; objects that are already right are left alone."""
    bucket = account.bucket_name(connection, name)
    account.ensure_bucket(connection, bucket)
    s3 = connection.client("s3")
    where = {"bucket": bucket, "input": INPUT, "output": OUTPUT}
    objects = {f"{DAGS}/{file}": demo_data.dag_file(file) for file in demo_data.DAG_FILES}
    objects[f"{DAGS}/flights.json"] = (json.dumps(where, indent=2) + "\n").encode()
    objects[INPUT] = demo_data.flights_csv().encode()
    changed = [key for key, body in objects.items() if _read(s3, bucket, key) != body]
    for key in changed:
        s3.put_object(Bucket=bucket, Key=key, Body=objects[key])
    out.print(f"Bucket {bucket}: {len(changed)} of {len(objects)} files uploaded", markup=False)
    return bucket


def _read(s3: Any, bucket: str, key: str) -> bytes | None:
    try:
        body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except s3.exceptions.NoSuchKey:
        return None
    return body


def _environment(
    connection: Connection, name: str, bucket: str, airflow_version: str | None
) -> tuple[int, list[tuple[str, float]]]:
    """An AVAILABLE environment; (major version of its Airflow, its steps and their seconds).

    Raises:
        Permanent: one of that name is there and has another version than was asked for.
    """
    mwaa = connection.client("mwaa", retry=False)
    found = get_environment(mwaa, name)
    if found and airflow_version not in (None, found["AirflowVersion"]):
        raise Permanent(
            f"Environment {name} runs Airflow {found['AirflowVersion']}. Choose another name for {airflow_version}: "
            f"aerodrome demo --airflow-version {airflow_version} --name NAME"
        )
    if found and found["Status"] == "CREATE_FAILED":
        out.print(f"Environment {name} could not be created last time: it is deleted and created again", markup=False)
        mwaa.delete_environment(Name=name)
    if found and found["Status"] in ("CREATE_FAILED", "DELETING"):
        watch(connection, name, out, deletion=True)
        found = None
    steps: list[tuple[str, float]] = []
    write = {
        "Effect": "Allow",
        "Action": "s3:PutObject",
        "Resource": f"arn:{connection.partition}:s3:::{bucket}/output/*",
    }
    role = account.ensure_role(connection, account.role_name(connection, name), name, bucket, [write])
    if found is None:
        members = creation_members(connection, name, bucket, DAGS, role, airflow_version=airflow_version)
        mwaa.create_environment(**members)
    if found is None or found["Status"] != "AVAILABLE":
        progress = watch(connection, name, out)
        steps = [(line.title, line.seconds) for line in progress.lines.values() if line.seconds is not None]
    else:
        out.print(f"Environment {name} is there: another run in it", markup=False)
    version = mwaa.get_environment(Name=name)["Environment"]["AirflowVersion"]
    return int(version.split(".")[0]), steps


def _run(connection: Connection, airflow: Airflow, bucket: str, times: Times) -> Outcome:
    """One run of the DAG.

    Raises:
        Permanent: it failed, or its result is wrong.
    """
    s3 = connection.client("s3")
    before = _versions(s3, bucket)
    wait_for_dag(airflow, DAG, _PATIENCE)
    times.phase("DAG found")
    run_id = trigger(airflow, DAG)
    view = watch_run(airflow, DAG, run_id, out, _PATIENCE)
    times.phase("DAG run")
    if view.finished("transform") < _MAPPED:
        raise Permanent(f"Run {run_id} had {view.finished('transform')} mapped tasks; {_MAPPED} were expected.")
    return _checked(s3, bucket, before, run_id)


def _checked(s3: Any, bucket: str, before: list[str], run_id: str) -> Outcome:
    """The one new version that the run wrote. Others may be there, of runs that somebody else started."""
    for version in _versions(s3, bucket):
        if version in before:
            continue
        report = json.loads(s3.get_object(Bucket=bucket, Key=OUTPUT, VersionId=version)["Body"].read())
        if report.get("run_id") == run_id:
            wrong = demo_data.differences(report, demo_data.expected_report(demo_data.flights_csv()))
            if wrong:
                raise Permanent(f"The report of run {run_id} is wrong: {'; '.join(wrong)}")
            return Outcome(report, version)
    raise Permanent(f"Run {run_id} succeeded but wrote no new version of s3://{bucket}/{OUTPUT}.")


def _versions(s3: Any, bucket: str) -> list[str]:
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=OUTPUT)
    return [item["VersionId"] for page in pages for item in page.get("Versions", ()) if item["Key"] == OUTPUT]


def _show(connection: Connection, name: str, bucket: str, outcome: Outcome) -> None:
    table = Table("Airport", "Flights", "Passengers", "Mean delay", "On time", box=None, header_style="bold")
    for row in outcome.report["airports"]:
        share = f"{row['on_time']:.1%}"
        cells = (row["airport"], row["flights"], f"{row['passengers']:,}", f"{row['mean_delay']:.2f} min", share)
        table.add_row(*map(str, cells))
    out.print()
    out.print(table)
    total = f"{outcome.report['flights']:,} flights, {outcome.report['passengers']:,} passengers"
    out.print(f"\n{total}: as expected. s3://{bucket}/{OUTPUT}, version {outcome.version}\n", markup=False)


def _show_next(connection: Connection, name: str, bucket: str) -> None:
    link = sign_in_link(connection, name)
    host = link.split("/")[2]
    out.print()
    out.print(Panel.fit(f"Airflow UI   https://{host}/", title=f"Environment {name} is up"))
    out.print(f"Sign in (once, within 60 seconds; `aerodrome env open {name}` makes a new link):", markup=False)
    out.print(f"  {link}\n", markup=False, soft_wrap=True)
    region = "" if connection.region == connection.installation.region else f" --region {connection.region}"
    out.print("Go on with:", markup=False)
    for command in (
        'eval "$(aerodrome shell-env)"',
        f"aws mwaa get-environment --name {name}{region}",
        f"aws mwaa invoke-rest-api --name {name} --method GET --path /dags{region}",
        f"aws s3 cp my_dag.py s3://{bucket}/{DAGS}/",
        f"aws s3 cp s3://{bucket}/{OUTPUT} -",
        f"aerodrome env cli {name}{region} -- dags list",
        "aerodrome down",
    ):
        out.print(f"  {command}", markup=False, soft_wrap=True)

"""`aerodrome env …`: environments through stock boto3 against the endpoint."""

from __future__ import annotations

import json
import sys
import webbrowser
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table

from aerodrome.cli import account
from aerodrome.cli.connection import Connection, connected
from aerodrome.cli.output import err, out
from aerodrome.cli.watch import follow, get_environment, watch
from aerodrome.cli.webserver import run_command, sign_in_link
from aerodrome.errors import Permanent

env_app = typer.Typer(name="env", help="Create, look at, open, update and delete environments.", no_args_is_help=True)

_ACCESS = "Where it is reached: PUBLIC_ONLY, PRIVATE_ONLY, PUBLIC_AND_PRIVATE."

Name = Annotated[str, typer.Argument(help="The environment's name.", show_default=False)]
Region = Annotated[str | None, typer.Option(help="Region of the environment.", show_default="the installation's")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Show what happens until it has happened.")]
Json = Annotated[bool, typer.Option("--json", help="The API's own answer, for programs.")]


@env_app.command("create")
def create(
    name: Name,
    bucket: Annotated[str | None, typer.Option(help="Bucket that holds the DAGs.", show_default="one is made")] = None,
    dags_path: Annotated[str, typer.Option(help="Folder of the DAGs in the bucket.")] = "dags",
    role: Annotated[
        str | None, typer.Option(help="Name or ARN of the execution role.", show_default="one is made")
    ] = None,
    environment_class: Annotated[str | None, typer.Option("--class", help="Size, mw1.small say.")] = None,
    airflow_version: Annotated[str | None, typer.Option(help="Version of Airflow.", show_default="the newest")] = None,
    access: Annotated[str, typer.Option(help=_ACCESS)] = "PUBLIC_ONLY",
    region: Region = None,
    wait: Wait = True,
) -> None:
    """Create an environment. A bucket and a role are made unless they are named."""
    with connected(region) as connection:
        _refuse_known(connection, name)
        bucket = bucket or _make_bucket(connection, name)
        arn = _role_arn(connection, role) if role else _make_role(connection, name, bucket)
        members = creation_members(connection, name, bucket, dags_path, arn, environment_class, airflow_version, access)
        answer = connection.client("mwaa", retry=False).create_environment(**members)
        out.print(answer["Arn"], soft_wrap=True)
        if wait:
            watch(connection, name, out)
            _print_next_steps(name, bucket, dags_path)


@env_app.command("update")
def update(
    name: Name,
    option: Annotated[
        list[str] | None,
        typer.Option(help="An Airflow option, section.name=value; all that there shall be.", show_default="as it is"),
    ] = None,
    environment_class: Annotated[str | None, typer.Option("--class", help="Size, mw1.small say.")] = None,
    min_workers: Annotated[int | None, typer.Option(help="Fewest workers.", show_default="as it is")] = None,
    max_workers: Annotated[int | None, typer.Option(help="Most workers.", show_default="as it is")] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Old workers: FORCED kills them, GRACEFUL waits.", show_default="they finish")
    ] = None,
    access: Annotated[
        str | None,
        typer.Option(
            help="Where it is reached: PUBLIC_ONLY, PRIVATE_ONLY, PUBLIC_AND_PRIVATE.", show_default="as it is"
        ),
    ] = None,
    region: Region = None,
    wait: Wait = True,
) -> None:
    """Change an environment; with nothing to change, start all of it anew in the current runtime."""
    members = {
        "AirflowConfigurationOptions": None if option is None else dict(map(_option, option)),
        "EnvironmentClass": environment_class,
        "MinWorkers": min_workers,
        "MaxWorkers": max_workers,
        "WorkerReplacementStrategy": strategy,
        "WebserverAccessMode": access,
    }
    given = {member: value for member, value in members.items() if value is not None}
    with connected(region) as connection:
        connection.client("mwaa", retry=False).update_environment(Name=name, **given)
        if wait:
            watch(connection, name, out)


def _option(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise typer.BadParameter(f"{text!r} is not section.name=value.", param_hint="--option")
    return name, value


def _refuse_known(connection: Connection, name: str) -> None:
    """Before a bucket or role that the environment uses is touched."""
    found = get_environment(connection.client("mwaa"), name)
    if found is not None:
        raise Permanent(
            f"An environment {name} exists already in {connection.region} ({found['Status']}). "
            f"Choose another name, or watch this one: aerodrome env events {name} --follow"
        )


def creation_members(
    connection: Connection,
    name: str,
    bucket: str,
    dags_path: str,
    role_arn: str,
    environment_class: str | None = None,
    airflow_version: str | None = None,
    access: str = "PUBLIC_ONLY",
) -> dict[str, Any]:
    """CreateEnvironment's members; what is None is left to the service."""
    logs = ("DagProcessingLogs", "SchedulerLogs", "TaskLogs", "WebserverLogs", "WorkerLogs")
    optional = {"EnvironmentClass": environment_class, "AirflowVersion": airflow_version}
    return {
        "Name": name,
        "SourceBucketArn": f"arn:{connection.partition}:s3:::{bucket}",
        "DagS3Path": dags_path,
        "ExecutionRoleArn": role_arn,
        "NetworkConfiguration": account.network(connection),
        "WebserverAccessMode": access,
        "LoggingConfiguration": {module: {"Enabled": True, "LogLevel": "INFO"} for module in logs},
        **{member: value for member, value in optional.items() if value is not None},
    }


def _make_bucket(connection: Connection, name: str) -> str:
    bucket = account.bucket_name(connection, name)
    made = account.ensure_bucket(connection, bucket)
    out.print(f"Bucket {bucket} {'made' if made else 'is there'}", markup=False)
    return bucket


def _make_role(connection: Connection, name: str, bucket: str) -> str:
    role = account.role_name(connection, name)
    arn = account.ensure_role(connection, role, name, bucket)
    out.print(f"Role {role} set up", markup=False)
    return arn


def _role_arn(connection: Connection, role: str) -> str:
    if role.startswith("arn:"):
        return role
    return f"arn:{connection.partition}:iam::{connection.installation.account}:role/{role}"


def _print_next_steps(name: str, bucket: str, dags_path: str) -> None:
    out.print(f"\nUpload DAGs:  aws s3 sync DIRECTORY s3://{bucket}/{dags_path.strip('/')}/", soft_wrap=True)
    out.print(f"Open the UI:  aerodrome env open {name} --browser", soft_wrap=True)


@env_app.command("list")
def list_environments(region: Region = None, as_json: Json = False) -> None:
    """List the environments of a region."""
    with connected(region) as connection:
        mwaa = connection.client("mwaa")
        pages = mwaa.get_paginator("list_environments").paginate()
        names = [name for page in pages for name in page["Environments"]]
        if as_json:
            sys.stdout.write(json.dumps({"Environments": names}, indent=2) + "\n")
            return
        table = Table(box=None, header_style="bold")
        for column in ("NAME", "STATUS", "VERSION", "CLASS", "WEB SERVER"):
            table.add_column(column, overflow="fold")
        for environment in (mwaa.get_environment(Name=name)["Environment"] for name in names):
            members = ("Name", "Status", "AirflowVersion", "EnvironmentClass", "WebserverUrl")
            table.add_row(*(str(environment.get(member, "")) for member in members))
        out.print(table)
        if not names:
            err.print(f"No environments in {connection.region}. Make one: aerodrome env create NAME")


@env_app.command("show")
def show(name: Name, region: Region = None, as_json: Json = False) -> None:
    """Show one environment."""
    with connected(region) as connection:
        environment = connection.client("mwaa").get_environment(Name=name)["Environment"]
        if as_json:
            sys.stdout.write(json.dumps(environment, indent=2, default=str) + "\n")
            return
        table = Table(show_header=False, box=None)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for member, value in flat(environment):
            table.add_row(member, value)
        out.print(table)


def flat(environment: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(member, value) rows for a person: nested members are joined by dots, lists by commas."""
    rows: list[tuple[str, str]] = []
    for member, value in environment.items():
        if isinstance(value, Mapping):
            rows += flat(value, f"{prefix}{member}.")
        elif isinstance(value, list):
            rows.append((prefix + member, ", ".join(map(str, value))))
        else:
            rows.append((prefix + member, str(value)))
    return rows


@env_app.command("delete")
def delete(name: Name, region: Region = None, wait: Wait = True) -> None:
    """Delete an environment: its database, files and logs go; its bucket and role stay."""
    with connected(region) as connection:
        connection.client("mwaa", retry=False).delete_environment(Name=name)
        if wait:
            watch(connection, name, out, deletion=True)
            out.print(f"Environment {name} is deleted.", markup=False)


@env_app.command("open")
def open_(
    name: Name,
    region: Region = None,
    browser: Annotated[bool, typer.Option("--browser", help="Open it in the browser of this machine.")] = False,
) -> None:
    """Print a link that signs in to the Airflow UI (once, within 60 seconds)."""
    with connected(region) as connection:
        link = sign_in_link(connection, name)
        sys.stdout.write(link + "\n")
        if browser and not webbrowser.open(link):
            raise Permanent("No browser could be opened here; open the link yourself within 60 seconds.")


@env_app.command("cli", context_settings={"ignore_unknown_options": True})
def cli(
    name: Name,
    command: Annotated[list[str], typer.Argument(help="Airflow's command, after `--`: dags list")],
    region: Region = None,
) -> None:
    """Run a command of Airflow's own CLI in an environment: aerodrome env cli NAME -- dags list."""
    with connected(region) as connection:
        output = run_command(connection, name, command)
        sys.stdout.buffer.write(output.stdout)
        sys.stdout.flush()
        sys.stderr.buffer.write(output.stderr)
        if output.stderr and not output.stderr.endswith(b"\n"):
            sys.stderr.buffer.write(b"\n")
        sys.stderr.flush()
        raise typer.Exit(output.exit_code)


@env_app.command("events")
def events(
    name: Name,
    region: Region = None,
    follow_on: Annotated[bool, typer.Option("--follow", help="Go on as new ones come.")] = False,
) -> None:
    """Print what happened to an environment, when, and how long it took."""
    with connected(region) as connection:
        if not follow(connection, name, out, forever=follow_on):
            raise Permanent(f"Nothing is known of an environment {name} in {connection.region}.")

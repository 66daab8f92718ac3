"""`aerodrome sessions …`: who is signed in to web servers, and ending that."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

import typer
from rich.table import Table

from aerodrome.cli.connection import connected
from aerodrome.cli.output import err, out
from aerodrome.cli.own_calls import ask

sessions_app = typer.Typer(
    name="sessions", help="See who is signed in to web servers, and end it.", no_args_is_help=True
)

Region = Annotated[str | None, typer.Option(help="Region of the environment.", show_default="all regions")]


@sessions_app.command("list")
def list_sessions(
    environment: Annotated[str | None, typer.Argument(help="Of this environment only.", show_default="all")] = None,
    region: Region = None,
    as_json: Annotated[bool, typer.Option("--json", help="The API's own answer, for programs.")] = False,
) -> None:
    """List who is signed in to the web servers of environments, the oldest session first."""
    asked = {name: value for name, value in (("environment", environment), ("region", region)) if value}
    with connected() as connection:
        answer = ask(connection, "GET", f"sessions?{urlencode(asked)}" if asked else "sessions")
    if as_json:
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return
    table = Table(box=None, header_style="bold")
    for column in ("ID", "ENVIRONMENT", "WHO", "ROLES", "KEY", "SINCE", "LAST SEEN", "UNTIL"):
        table.add_column(column, overflow="fold", no_wrap=column == "ID")  # what `revoke` takes
    for session in answer["Sessions"]:
        table.add_row(*_cells(session))
    out.print(table)
    if not answer["Sessions"]:
        err.print("Nobody is signed in.")


def _cells(session: dict[str, Any]) -> list[str]:
    times = (session[name] for name in ("CreatedAt", "LastSeenAt", "ExpiresAt"))
    return [
        session["Id"],
        f"{session['Environment']} ({session['Region']})",
        session["IamIdentity"],
        ", ".join(session["Roles"]),
        session["AccessKeyId"] or session.get("IdentityProvider") or "-",
        *(datetime.fromtimestamp(each, UTC).strftime("%Y-%m-%d %H:%M:%SZ") for each in times),
    ]


@sessions_app.command("revoke")
def revoke(
    session_id: Annotated[str | None, typer.Argument(help="One session, by its ID.", show_default=False)] = None,
    user: Annotated[
        str | None,
        typer.Option(
            help="All sessions of an IAM user, user/NAME or NAME, of a role, assumed-role/NAME, "
            "or of somebody of the identity provider, oidc/NAME."
        ),
    ] = None,
    environment: Annotated[str | None, typer.Option(help="All sessions of an environment.")] = None,
    region: Region = None,
    everything: Annotated[bool, typer.Option("--all", help="All sessions of all environments.")] = False,
) -> None:
    """End sessions at once: the next request, and an answer that is under way, finds nobody signed in."""
    if sum(bool(each) for each in (session_id, user, environment, everything)) != 1:
        raise typer.BadParameter("Name one of: an ID, --user, --environment, --all.")
    if region and not environment:
        raise typer.BadParameter("It goes with --environment.", param_hint="--region")
    choice = {"Id": session_id, "User": user, "Environment": environment, "Region": region, "All": everything or None}
    with connected() as connection:
        answer = ask(connection, "POST", "sessions/revoke", {key: each for key, each in choice.items() if each})
    count = answer["Revoked"]
    out.print(f"{count} session{'' if count == 1 else 's'} ended.")

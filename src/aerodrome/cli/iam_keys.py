"""`aerodrome iam`, wherever callers come from: temporary keys of a role, another key for the administrator."""

from __future__ import annotations

import asyncio
import getpass
from typing import Annotated

import typer

from aerodrome.cli.connection import connected
from aerodrome.cli.iam_table import Json, dump
from aerodrome.cli.output import err, out
from aerodrome.layout import Layout
from aerodrome.settings import Settings

keys_app = typer.Typer()


@keys_app.command("assume-role")
def assume_role(
    role: Annotated[str, typer.Argument(help="Name or ARN of the role.", show_default=False)],
    session: Annotated[str | None, typer.Option(help="Name of the session.", show_default="your own name")] = None,
    duration: Annotated[int, typer.Option(help="Seconds that the keys are good for.", min=900, max=43200)] = 3600,
    policy: Annotated[
        typer.FileText | None, typer.Option(help="A file with a policy that limits the session.", show_default=False)
    ] = None,
    external_id: Annotated[str | None, typer.Option(help="What the trust policy asks for.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Print temporary keys of a role that lets the administrator assume it, for a shell."""
    with connected() as connection:
        arn = role if role.startswith("arn:") else f"arn:aws:iam::{connection.installation.account}:role/{role}"
        given = {"Policy": policy.read() if policy else None, "ExternalId": external_id}
        answer = connection.client("sts").assume_role(
            RoleArn=arn,
            RoleSessionName=session or getpass.getuser(),
            DurationSeconds=duration,
            **{name: value for name, value in given.items() if value is not None},
        )
    made = answer["Credentials"]
    if as_json:
        dump({**made, "Expiration": made["Expiration"].isoformat(), "Version": 1})  # as `credential_process` reads it
        return
    typer.echo(
        f"export AWS_ACCESS_KEY_ID={made['AccessKeyId']}\nexport AWS_SECRET_ACCESS_KEY={made['SecretAccessKey']}\n"
        f"export AWS_SESSION_TOKEN={made['SessionToken']}"
    )
    err.print(f"Good until {made['Expiration']:%Y-%m-%d %H:%M} UTC.", style="dim")


@keys_app.command("rotate-administrator")
def rotate_administrator() -> None:
    """Give the administrator another access key; the old one ends at once. Nothing is restarted.

    Cut short, the next `aerodrome up` or the same command again ends it. Shells need their `aerodrome shell-env` anew.
    """
    from aerodrome.machineroom.administrator import exchange_key  # here: the other commands don't need it

    made = asyncio.run(exchange_key(Layout(Settings().home), lambda text: err.print(text, style="yellow")))
    out.print(f"The administrator's key is {made.admin_access_key} now.", markup=False)
    out.print('In shells that had the old one: eval "$(aerodrome shell-env)"', markup=False, style="dim")

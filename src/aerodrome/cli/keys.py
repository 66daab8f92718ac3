"""`aerodrome keys …`: the keys that everything at rest is sealed under."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from aerodrome.cli.output import Steps, out
from aerodrome.layout import Layout
from aerodrome.settings import Settings, service_endpoints

keys_app = typer.Typer(
    name="keys", help="The keys that everything at rest is sealed under, and other ones for them.", no_args_is_help=True
)


@keys_app.callback()
def _group() -> None:
    """Commands of keys; more than one is to come, so that `rotate` has a name."""


@keys_app.command("rotate")
def rotate(
    environment: Annotated[
        list[str] | None,
        typer.Option(help="A new data key for the environments of this name instead.", show_default=False),
    ] = None,
    data_keys: Annotated[bool, typer.Option("--data-keys", help="New data keys for all environments instead.")] = False,
) -> None:
    """Give the installation another master key; what the old one wrapped is wrapped anew. Nothing is restarted.

    The database must be up. Cut short, the next `aerodrome up` or the same command again ends it; both keys open what
    they wrapped until then.
    """
    if environment and data_keys:
        raise typer.BadParameter("Name environments, or all with --data-keys.")
    # Here: they bring the clients of the database and of AWS, which the other commands don't need.
    from aerodrome.aws.clients import AwsClients
    from aerodrome.aws.kms import own_kms
    from aerodrome.machineroom.keys import exchange_data_keys, exchange_master

    layout = Layout(Settings().home)
    with Steps() as steps:
        if environment or data_keys:
            settings, endpoints = Settings(), service_endpoints()
            kms = own_kms(AwsClients(endpoints), endpoints, settings.aws_access_key_id, settings.aws_secret_access_key)
            count = asyncio.run(exchange_data_keys(layout, environment, steps, kms))
        else:
            asyncio.run(exchange_master(layout, steps))
    if environment or data_keys:
        out.print(f"{count} environment{'' if count == 1 else 's'} sealed anew, under new data keys.", markup=False)
        return
    out.print(f"{layout.master_key} is another one now. Backups made before need the old one.", markup=False)

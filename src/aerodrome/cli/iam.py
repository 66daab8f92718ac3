"""`aerodrome iam …`, put together."""

from __future__ import annotations

import typer

from aerodrome.cli.iam_identities import identities_app
from aerodrome.cli.iam_keys import keys_app
from aerodrome.cli.iam_policies import policies_app

iam_app = typer.Typer(
    name="iam", help="Who may call: users, keys, groups, roles and policies of our own table.", no_args_is_help=True
)
for part in (identities_app, policies_app, keys_app):
    iam_app.add_typer(part)

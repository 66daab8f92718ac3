"""`aerodrome iam`: users with their access keys, groups, roles."""

from __future__ import annotations

from typing import Annotated

import typer

from aerodrome.cli.iam_table import (
    Json,
    KeyId,
    Name,
    Role,
    Tags,
    User,
    account,
    dump,
    grid,
    one_of,
    read_tags,
    refuse_own,
    show_all,
    work,
)
from aerodrome.cli.iam_table import show as show_one
from aerodrome.cli.output import err, out
from aerodrome.domain.iam import Kind, Who, arn

identities_app = typer.Typer()

UserName = Annotated[str, typer.Argument(help="The user's name.", show_default=False)]
GroupName = Annotated[str, typer.Argument(help="The group's name.", show_default=False)]
Trust = Annotated[
    typer.FileText | None,
    typer.Option("--trust", help="A file with the trust policy (JSON).", show_default="whom their policies allow it"),
]


def _create(who: Who, tags: list[str] | None = None, trust: str | None = None, seconds: int = 3600) -> None:
    given = read_tags(tags)
    work(lambda table: table.identities.create(who, tags=given, trust=trust, max_seconds=seconds))
    out.print(arn(account(), who), markup=False)


def _delete(who: Who) -> None:
    work(lambda table: table.identities.delete(who))


@identities_app.command("create-user")
def create_user(name: Name, tag: Tags = None) -> None:
    """Make a user, who may do nothing yet and has no key."""
    _create(Who(Kind.USER, name), tag)


@identities_app.command("list-users")
def list_users(as_json: Json = False) -> None:
    """List the users."""
    show_all(Kind.USER, as_json)


@identities_app.command("get-user")
def get_user(name: Name, as_json: Json = False) -> None:
    """Show a user: keys, groups, policies, boundary, tags."""
    show_one(Who(Kind.USER, name), as_json)


@identities_app.command("delete-user")
def delete_user(name: Name) -> None:
    """Delete a user with its keys, policies and memberships. Its keys end with the next call."""
    _delete(Who(Kind.USER, name))


@identities_app.command("create-access-key")
def create_access_key(user: UserName, as_json: Json = False) -> None:
    """Make an access key for a user, who can have two. Its secret is shown this once."""
    made = work(lambda table: table.keys.create(user))
    if as_json:
        dump({"UserName": made.user, "AccessKeyId": made.id, "SecretAccessKey": made.secret, "Status": "Active"})
        return
    typer.echo(f"export AWS_ACCESS_KEY_ID={made.id}\nexport AWS_SECRET_ACCESS_KEY={made.secret}")
    err.print("The secret is shown this once; it can't be had again.", style="dim")


@identities_app.command("list-access-keys")
def list_access_keys(user: UserName, as_json: Json = False) -> None:
    """List a user's access keys, without their secrets."""
    found = work(lambda table: table.keys.listed(user))
    rows = [
        (key.user, key.id, "Active" if key.active else "Inactive", key.created_at.isoformat(timespec="seconds"))
        for key in found
    ]
    if as_json:
        dump([dict(zip(("UserName", "AccessKeyId", "Status", "CreateDate"), row, strict=True)) for row in rows])
    else:
        grid(("key", "status", "made"), (row[1:] for row in rows))


@identities_app.command("deactivate-access-key")
def deactivate_access_key(key_id: KeyId) -> None:
    """Refuse a key from the next call on; it can be activated again."""
    refuse_own(key_id)
    work(lambda table: table.keys.set_active(key_id, active=False))


@identities_app.command("activate-access-key")
def activate_access_key(key_id: KeyId) -> None:
    """Take a key again that was deactivated."""
    work(lambda table: table.keys.set_active(key_id, active=True))


@identities_app.command("delete-access-key")
def delete_access_key(key_id: KeyId) -> None:
    """Delete a key for good. It is refused from the next call on."""
    refuse_own(key_id)
    work(lambda table: table.keys.delete(key_id))


@identities_app.command("create-group")
def create_group(name: Name) -> None:
    """Make a group."""
    _create(Who(Kind.GROUP, name))


@identities_app.command("list-groups")
def list_groups(as_json: Json = False) -> None:
    """List the groups."""
    show_all(Kind.GROUP, as_json)


@identities_app.command("get-group")
def get_group(name: Name, as_json: Json = False) -> None:
    """Show a group: its users and policies."""
    show_one(Who(Kind.GROUP, name), as_json)


@identities_app.command("delete-group")
def delete_group(name: Name) -> None:
    """Delete a group; its users stay."""
    _delete(Who(Kind.GROUP, name))


@identities_app.command("add-user-to-group")
def add_user_to_group(user: UserName, group: GroupName) -> None:
    """Put a user into a group."""
    work(lambda table: table.identities.add_to_group(user, group))


@identities_app.command("remove-user-from-group")
def remove_user_from_group(user: UserName, group: GroupName) -> None:
    """Take a user out of a group."""
    work(lambda table: table.identities.remove_from_group(user, group))


@identities_app.command("create-role")
def create_role(
    name: Name,
    trust: Trust = None,
    duration: Annotated[int, typer.Option(help="Seconds that a session may last.", min=3600, max=43200)] = 3600,
    tag: Tags = None,
) -> None:
    """Make a role, to be assumed by those whom its trust policy names."""
    document = trust.read() if trust else _trust_account()
    _create(Who(Kind.ROLE, name), tag, document, duration)


def _trust_account() -> str:
    """Everybody of the account whose own policies allow sts:AssumeRole on the role."""
    root = f'"arn:aws:iam::{account()}:root"'
    statement = f'{{"Effect": "Allow", "Principal": {{"AWS": {root}}}, "Action": "sts:AssumeRole"}}'
    return f'{{"Version": "2012-10-17", "Statement": [{statement}]}}'


@identities_app.command("list-roles")
def list_roles(as_json: Json = False) -> None:
    """List the roles."""
    show_all(Kind.ROLE, as_json)


@identities_app.command("get-role")
def get_role(name: Name, as_json: Json = False) -> None:
    """Show a role: its trust policy, policies, boundary, tags."""
    show_one(Who(Kind.ROLE, name), as_json)


@identities_app.command("update-trust")
def update_trust(
    name: Name,
    document: Annotated[
        typer.FileText, typer.Argument(help="A file with the trust policy (JSON); - reads it.", show_default=False)
    ],
) -> None:
    """Say anew who may assume a role. Sessions that there are stay."""
    text = document.read()
    work(lambda table: table.identities.set_trust(name, text))


@identities_app.command("delete-role")
def delete_role(name: Name) -> None:
    """Delete a role; all its sessions end with the next call."""
    _delete(Who(Kind.ROLE, name))


@identities_app.command("tag")
def tag_identity(
    tags: Annotated[list[str], typer.Argument(help="Tags, key=value.", show_default=False)],
    user: User = None,
    role: Role = None,
) -> None:
    """Tag a user or a role: policies may ask for it (aws:PrincipalTag/KEY)."""
    who, given = one_of(user, role=role), read_tags(tags)
    work(lambda table: table.identities.tag(who, given))


@identities_app.command("untag")
def untag_identity(
    keys: Annotated[list[str], typer.Argument(help="Keys of tags.", show_default=False)],
    user: User = None,
    role: Role = None,
) -> None:
    """Take tags away from a user or a role."""
    who = one_of(user, role=role)
    work(lambda table: table.identities.untag(who, keys))

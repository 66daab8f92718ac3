"""What the commands of `aerodrome iam` share: options, the way to the table, and how they print.

The commands work on the database itself, as the installation's owner; what they change counts from the next call on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.table import Table as Grid

from aerodrome.cli.output import out
from aerodrome.domain.iam import Kind, Who, arn
from aerodrome.errors import ApiError, Permanent
from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation, load
from aerodrome.settings import Settings

if TYPE_CHECKING:  # they bring the database's client, which the other commands don't need
    from aerodrome.machineroom.table import Table
    from aerodrome.store.identities import Identity

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
User = Annotated[str | None, typer.Option(help="Name of a user.", show_default=False)]
Group = Annotated[str | None, typer.Option(help="Name of a group.", show_default=False)]
Role = Annotated[str | None, typer.Option(help="Name of a role.", show_default=False)]
Name = Annotated[str, typer.Argument(help="Its name.", show_default=False)]
KeyId = Annotated[str, typer.Argument(help="The key's id.", show_default=False)]
Document = Annotated[
    typer.FileText, typer.Argument(help="A file with the policy document (JSON); - reads it.", show_default=False)
]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A tag, key=value.", show_default=False)]

T = TypeVar("T")


def work(task: Callable[[Table], Awaitable[T]]) -> T:
    """Do something with the table.

    Raises:
        Permanent: the installation takes its callers from elsewhere; what IAM would say, with its code.
        Temporary: the database isn't up.
    """
    layout = Layout(Settings().home)
    installation = load(layout)
    if installation.identity != "table":
        raise Permanent(
            "The callers of this installation are users and roles of the embedded cloud: `aws iam create-user` and the "
            "like manage them. For a table of its own, start it with AERODROME_IDENTITY=table."
        )
    try:
        return asyncio.run(_work(layout, installation, task))
    except ApiError as error:
        raise Permanent(f"{error.code}: {error.message}") from error


async def _work(layout: Layout, installation: Installation, task: Callable[[Table], Awaitable[T]]) -> T:
    from aerodrome.machineroom.table import open_table

    async with open_table(layout, installation) as table:
        return await task(table)


def account() -> str:
    return load(Layout(Settings().home)).account


def refuse_own(key_id: str) -> None:
    """Raises Permanent: it is the key that this command line itself calls with."""
    if key_id == load(Layout(Settings().home)).admin_access_key:
        raise Permanent(
            f"{key_id} is the administrator's own key, which `aerodrome` itself calls with. "
            "`aerodrome iam rotate-administrator` puts another in its place."
        )


def one_of(user: str | None, group: str | None = None, role: str | None = None) -> Who:
    """Raises typer.BadParameter: not exactly one is named."""
    named = {Kind.USER: user, Kind.GROUP: group, Kind.ROLE: role}
    found = [Who(kind, name) for kind, name in named.items() if name is not None]
    if len(found) != 1:
        raise typer.BadParameter("Name exactly one: a user, a group or a role.")
    return found[0]


def read_tags(given: Iterable[str] | None) -> dict[str, str]:
    """Raises typer.BadParameter: one has no `=`."""
    pairs = [text.partition("=") for text in given or ()]
    if any(not sign for _, sign, _ in pairs):
        raise typer.BadParameter("A tag is key=value.")
    return {key: value for key, _, value in pairs}


def dump(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, default=str))


def grid(titles: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    table = Grid(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    out.print(table)


def members(identity: Identity, number: str) -> dict[str, Any]:
    """What a program is told of it, in IAM's words."""
    told: dict[str, Any] = {
        "Arn": arn(number, Who(identity.kind, identity.name)),
        f"{identity.kind.title()}Name": identity.name,
        f"{identity.kind.title()}Id": identity.id,
        "CreateDate": identity.created_at.isoformat(),
        "Policies": dict(identity.inline),
        "AttachedPolicies": list(identity.attached),
    }
    if identity.kind is Kind.GROUP:
        return told | {"Users": list(identity.members)}
    told |= {"PermissionsBoundary": identity.boundary, "Tags": dict(identity.tags)}
    if identity.kind is Kind.USER:
        return told | {"Groups": list(identity.groups), "AccessKeys": list(identity.keys)}
    return told | {"AssumeRolePolicyDocument": identity.trust, "MaxSessionDuration": identity.max_seconds}


def show(who: Who, as_json: bool) -> None:
    number = account()
    told = members(work(lambda table: table.identities.get(who)), number)
    if as_json:
        dump(told)
        return
    plain = {name: value for name, value in told.items() if value not in ({}, [], None)}
    grid(("", ""), ((name, _cell(value)) for name, value in plain.items()))


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(
            f"{key}: {json.dumps(each) if isinstance(each, dict) else each}" for key, each in value.items()
        )
    return ", ".join(value) if isinstance(value, list) else str(value)


def show_all(kind: Kind, as_json: bool) -> None:
    number = account()
    found = work(lambda table: table.identities.listed(kind))
    if as_json:
        dump([members(identity, number) for identity in found])
    else:
        rows = ((each.name, each.id, f"{each.created_at:%Y-%m-%d %H:%M}", _has(each)) for each in found)
        grid(("name", "id", "made", "has"), rows)


def _has(identity: Identity) -> str:
    named = {
        "keys": identity.keys,
        "groups": identity.groups,
        "users": identity.members,
        "policies": (*identity.attached, *identity.inline),
    }
    return ", ".join(f"{len(each)} {name}" for name, each in named.items() if each)

"""`aerodrome iam`: what users, groups and roles may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aerodrome.cli.iam_table import Document, Group, Json, Name, Role, User, account, dump, grid, one_of, work
from aerodrome.cli.output import out
from aerodrome.domain.iam import policy_arn

if TYPE_CHECKING:
    from aerodrome.store.policies import ManagedPolicy

policies_app = typer.Typer()

Policy = Annotated[str, typer.Argument(help="The policy's name or ARN.", show_default=False)]


def _members(policy: ManagedPolicy) -> dict[str, Any]:
    return {
        "Arn": policy_arn(account(), policy.name, is_aws=policy.is_aws),
        "PolicyName": policy.name,
        "CreateDate": policy.created_at.isoformat(),
        "UpdateDate": policy.changed_at.isoformat(),
        "AttachmentCount": policy.used,
        "Document": policy.document,
    }


@policies_app.command("create-policy")
def create_policy(name: Name, document: Document) -> None:
    """Make a managed policy, which can be attached to many."""
    text = document.read()
    made = work(lambda table: table.policies.create(name, text))
    out.print(policy_arn(account(), made.name, is_aws=False), markup=False)


@policies_app.command("update-policy")
def update_policy(policy: Policy, document: Document) -> None:
    """Give a managed policy another document, for all who have it."""
    text = document.read()
    work(lambda table: table.policies.replace(policy, text))


@policies_app.command("list-policies")
def list_policies(as_json: Json = False) -> None:
    """List the managed policies."""
    found = work(lambda table: table.policies.listed())
    if as_json:
        dump([_members(policy) for policy in found])
    else:
        grid(
            ("name", "used", "changed"), ((each.name, each.used, f"{each.changed_at:%Y-%m-%d %H:%M}") for each in found)
        )


@policies_app.command("get-policy")
def get_policy(policy: Policy) -> None:
    """Print a managed policy, and who has it, as JSON."""

    async def read(table: Any) -> Mapping[str, Any]:
        return {**_members(await table.policies.get(policy)), "AttachedTo": await table.policies.users(policy)}

    dump(work(read))


@policies_app.command("delete-policy")
def delete_policy(policy: Policy) -> None:
    """Delete a managed policy that nobody has."""
    work(lambda table: table.policies.delete(policy))


@policies_app.command("attach-policy")
def attach_policy(policy: Policy, user: User = None, group: Group = None, role: Role = None) -> None:
    """Attach a managed policy to a user, a group or a role."""
    who = one_of(user, group, role)
    work(lambda table: table.policies.attach(who, policy))


@policies_app.command("detach-policy")
def detach_policy(policy: Policy, user: User = None, group: Group = None, role: Role = None) -> None:
    """Detach a managed policy from a user, a group or a role."""
    who = one_of(user, group, role)
    work(lambda table: table.policies.detach(who, policy))


@policies_app.command("put-policy")
def put_policy(name: Name, document: Document, user: User = None, group: Group = None, role: Role = None) -> None:
    """Write an inline policy of a user, a group or a role, over the one of that name."""
    who, text = one_of(user, group, role), document.read()
    work(lambda table: table.policies.put_inline(who, name, text))


@policies_app.command("remove-policy")
def remove_policy(name: Name, user: User = None, group: Group = None, role: Role = None) -> None:
    """Remove an inline policy of a user, a group or a role."""
    who = one_of(user, group, role)
    work(lambda table: table.policies.delete_inline(who, name))


@policies_app.command("put-boundary")
def put_boundary(policy: Policy, user: User = None, role: Role = None) -> None:
    """Limit a user or a role to what a managed policy allows (a permissions boundary)."""
    who = one_of(user, role=role)
    work(lambda table: table.policies.set_boundary(who, policy))


@policies_app.command("remove-boundary")
def remove_boundary(user: User = None, role: Role = None) -> None:
    """Take the permissions boundary of a user or a role away."""
    who = one_of(user, role=role)
    work(lambda table: table.policies.set_boundary(who, None))

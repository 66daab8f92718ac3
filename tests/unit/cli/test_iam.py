"""`aerodrome iam …` on a real PostgreSQL, as the installation's owner types it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aerodrome.cli.iam import iam_app
from aerodrome.domain.iam import ADMINISTRATOR
from aerodrome.errors import Permanent, Temporary
from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation, dump
from aerodrome.machineroom.table import Table, open_table
from aerodrome.store.database import create_database
from support.identities import policy, trust

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def own_postgres(postgres_url: str) -> str:
    asyncio.run(create_database(postgres_url))
    return postgres_url


@pytest.fixture
def home(installation: Installation, own_postgres: str, tmp_path: Path) -> Layout:
    """An installation in table mode, its table empty but for the administrator."""
    layout = Layout(tmp_path / "home")
    layout.secrets.mkdir(mode=0o700)
    layout.master_key.write_bytes(b"k" * 32)
    made = replace(installation, identity="table", external_postgres_url=own_postgres)
    layout.installation_file.write_text(dump(made))

    async def empty(table: Table) -> None:
        async with table.keys._pool.connection() as connection:
            await connection.execute("TRUNCATE identities CASCADE")
            await connection.execute("DELETE FROM policies WHERE NOT is_aws")
        await table.keys.ensure_administrator(lambda: (made.admin_access_key, made.admin_secret_key))

    async def prepare() -> None:
        async with open_table(layout, made) as table:
            await empty(table)

    asyncio.run(prepare())
    return layout


def iam(*arguments: str, given: str | None = None) -> str:
    result = RUNNER.invoke(iam_app, list(arguments), input=given)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def read(*arguments: str) -> Any:
    return json.loads(iam(*arguments, "--json"))


def refused(*arguments: str, given: str | None = None) -> str:
    result = RUNNER.invoke(iam_app, list(arguments), input=given)
    assert isinstance(result.exception, Permanent), (result.output, result.exception)
    return str(result.exception)


def test_a_user_from_beginning_to_end(home: Layout) -> None:
    assert iam("create-user", "alice", "--tag", "team=data").strip() == "arn:aws:iam::100000000001:user/alice"
    key = read("create-access-key", "alice")
    assert (key["UserName"], key["Status"], len(key["SecretAccessKey"])) == ("alice", "Active", 40)
    assert [user["UserName"] for user in read("list-users")] == [ADMINISTRATOR, "alice"]
    iam("create-group", "team")
    iam("add-user-to-group", "alice", "team")
    iam("create-policy", "readers", "-", given=policy("airflow:Get*"))
    iam("attach-policy", "readers", "--group", "team")
    iam("put-policy", "own", "-", "--user", "alice", given=policy("airflow:List*"))
    iam("put-boundary", "AdministratorAccess", "--user", "alice")
    iam("tag", "level=2", "--user", "alice")
    iam("untag", "team", "--user", "alice")
    found = read("get-user", "alice")
    assert (found["Groups"], found["AccessKeys"]) == (["team"], [key["AccessKeyId"]])
    assert (found["PermissionsBoundary"], found["Tags"]) == ("AdministratorAccess", {"level": "2"})
    assert found["Policies"] == {"own": json.loads(policy("airflow:List*"))}
    assert read("get-group", "team")["AttachedPolicies"] == ["readers"]
    assert read("get-group", "team")["Users"] == ["alice"]
    assert "alice" in iam("list-users")
    assert "airflow:List*" in iam("get-user", "alice")

    iam("deactivate-access-key", key["AccessKeyId"])
    assert [each["Status"] for each in read("list-access-keys", "alice")] == ["Inactive"]
    iam("activate-access-key", key["AccessKeyId"])
    assert "Active" in iam("list-access-keys", "alice")
    iam("delete-access-key", key["AccessKeyId"])
    assert read("list-access-keys", "alice") == []
    iam("remove-boundary", "--user", "alice")
    iam("remove-policy", "own", "--user", "alice")
    iam("remove-user-from-group", "alice", "team")
    iam("detach-policy", "readers", "--group", "team")
    iam("delete-policy", "readers")
    iam("delete-group", "team")
    iam("delete-user", "alice")
    assert [user["UserName"] for user in read("list-users")] == [ADMINISTRATOR]
    assert [each["PolicyName"] for each in read("list-policies")] == ["AdministratorAccess"]


def test_a_role(home: Layout, tmp_path: Path) -> None:
    iam("create-role", "etl", "--duration", "7200")
    found = read("get-role", "etl")
    assert found["MaxSessionDuration"] == 7200
    assert found["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"AWS": "arn:aws:iam::100000000001:root"}
    (tmp_path / "trust.json").write_text(trust("*"))
    iam("update-trust", "etl", str(tmp_path / "trust.json"))
    assert read("list-roles")[0]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == "*"
    iam("create-role", "other", "--trust", str(tmp_path / "trust.json"), "--tag", "a=b")
    assert read("get-role", "other")["Tags"] == {"a": "b"}
    iam("delete-role", "other")


def test_a_secret_is_shown_once(home: Layout) -> None:
    iam("create-user", "alice")
    shown = iam("create-access-key", "alice")
    secret = shown.split("AWS_SECRET_ACCESS_KEY=")[1].split()[0]
    for command in (("list-access-keys", "alice"), ("get-user", "alice"), ("list-users",)):
        assert secret not in iam(*command)
        assert secret not in iam(*command, "--json")


def test_a_policy_and_who_has_it(home: Layout) -> None:
    iam("create-policy", "readers", "-", given=policy("airflow:Get*"))
    iam("attach-policy", "readers", "--user", ADMINISTRATOR)
    found = json.loads(iam("get-policy", "readers"))
    assert found["AttachedTo"] == [f"user {ADMINISTRATOR}"]
    assert "detach it first" in refused("delete-policy", "readers")
    iam("update-policy", "readers", "-", given=policy("airflow:List*"))
    assert json.loads(iam("get-policy", "readers"))["Document"] == json.loads(policy("airflow:List*"))
    assert "readers" in iam("list-policies")


def test_what_is_wrong_is_told_with_iams_code(home: Layout) -> None:
    assert refused("get-user", "nobody").startswith("NoSuchEntity: The user with name nobody cannot be found.")
    told = refused("create-policy", "bad", "-", given="{")
    assert told == "MalformedPolicyDocument: The policy is not in the valid JSON format."
    assert refused("create-user", "a b").startswith("ValidationError")
    assert refused("delete-user", ADMINISTRATOR).startswith("DeleteConflict")
    assert refused("delete-access-key", "AKIANOBODY").startswith("NoSuchEntity")


@pytest.mark.parametrize("command", ["delete-access-key", "deactivate-access-key"])
def test_the_administrators_own_key_is_exchanged_not_removed(home: Layout, command: str) -> None:
    assert "rotate-administrator" in refused(command, "AKIATEST")
    assert [key["Status"] for key in read("list-access-keys", ADMINISTRATOR)] == ["Active"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("attach-policy", "p"),
        ("attach-policy", "p", "--user", "a", "--group", "b"),
        ("tag", "nothing", "--user", ADMINISTRATOR),
        ("create-user", "alice", "--tag", "nothing"),
        ("create-role", "r", "--duration", "60"),
    ],
)
def test_wrong_usage_is_told_as_that(home: Layout, arguments: tuple[str, ...]) -> None:
    assert RUNNER.invoke(iam_app, list(arguments)).exit_code == 2


def test_where_callers_come_from_the_cloud_it_says_so(installation: Installation) -> None:
    assert "aws iam create-user" in refused("create-user", "alice")


def test_a_database_that_is_away_is_told(home: Layout, installation: Installation) -> None:
    away = replace(installation, identity="table", external_postgres_url="postgresql://x:y@127.0.0.1:1")
    home.installation_file.write_text(dump(away))
    result = RUNNER.invoke(iam_app, ["list-users"])
    assert isinstance(result.exception, Temporary)
    assert "aerodrome up" in str(result.exception)

"""Callers from the installation's own table, on an installation as it is: its command line, its front door, boto3."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from support.identities import policy

from .conftest import Office

LIST = policy("airflow:ListEnvironments")
REFUSED, DENIED = "UnrecognizedClientException", "AccessDeniedException"
UNKNOWN = r"InvalidAccessKeyId|InvalidClientTokenId"  # to S3 and other services of the cloud
Key = dict[str, str]


@pytest.fixture
def alice(office: Office) -> Iterator[Key]:
    """A user who may list environments."""
    office.iam("create-user", "alice")
    office.iam("put-policy", "list", "-", "--user", "alice", given=LIST)
    yield office.read("create-access-key", "alice")
    if "alice" in office.iam("list-users"):
        office.iam("delete-user", "alice")


def test_a_fresh_table_has_one_administrator_with_a_generated_key(office: Office) -> None:
    users = office.read("list-users")
    assert [user["UserName"] for user in users] == ["admin"]
    assert users[0]["AccessKeys"] == [office.installation.admin_access_key]
    assert office.answer() == "ok"
    assert office.as_key("sts").get_caller_identity()["Arn"] == "arn:aws:iam::100000000001:user/admin"
    assert office.as_key("s3").list_buckets()["Buckets"] == []


def test_allowed_denied_and_unknown(office: Office, alice: Key) -> None:
    assert office.answer(alice) == "ok"
    with pytest.raises(ClientError) as denied:
        office.as_key("mwaa", alice).get_environment(Name="demo")
    told = denied.value.response["Error"]
    assert told["Code"] == DENIED
    assert told["Message"].startswith(
        "User: arn:aws:iam::100000000001:user/alice is not authorized to perform: airflow:GetEnvironment on resource: "
    )
    assert office.answer({**alice, "AccessKeyId": "AKIANOBODYKNOWSTHIS0"}) == REFUSED
    assert office.answer({**alice, "SecretAccessKey": "wrong"}) == "InvalidSignatureException"
    assert office.answer({**alice, "SessionToken": "token"}) == REFUSED


def test_what_is_taken_away_is_gone_with_the_next_call(office: Office, alice: Key) -> None:
    assert office.answer(alice) == "ok"
    office.iam("deactivate-access-key", alice["AccessKeyId"])
    assert office.answer(alice) == REFUSED
    office.iam("activate-access-key", alice["AccessKeyId"])
    assert office.answer(alice) == "ok"
    office.iam("remove-policy", "list", "--user", "alice")
    assert office.answer(alice) == DENIED
    office.iam("attach-policy", "AdministratorAccess", "--user", "alice")
    assert office.answer(alice) == "ok"
    office.iam("delete-user", "alice")
    assert office.answer(alice) == REFUSED


def test_a_role_and_its_sessions(office: Office, alice: Key) -> None:
    office.iam("create-role", "etl")
    arn = "arn:aws:iam::100000000001:role/etl"
    with pytest.raises(ClientError, match="AccessDenied"):
        office.as_key("sts", alice).assume_role(RoleArn=arn, RoleSessionName="night")
    office.iam("put-policy", "assume", "-", "--user", "alice", given=policy("sts:AssumeRole", resource=arn))
    made = office.as_key("sts", alice).assume_role(RoleArn=arn, RoleSessionName="night")["Credentials"]
    assert office.answer(made) == DENIED
    office.iam("put-policy", "list", "-", "--role", "etl", given=LIST)
    assert office.answer(made) == "ok"
    assert office.as_key("sts", made).get_caller_identity()["Arn"].endswith(":assumed-role/etl/night")
    own = office.read("assume-role", "etl", "--session", "mine", "--duration", "900")
    assert office.answer(own) == "ok"
    office.iam("delete-role", "etl")
    assert office.answer(made) == office.answer(own) == REFUSED


def test_the_clouds_users_are_nobody_here_and_ours_nobody_there(office: Office, alice: Key) -> None:
    iam = office.as_key("iam")
    iam.create_user(UserName="clouds")
    iam.attach_user_policy(UserName="clouds", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    key = iam.create_access_key(UserName="clouds")["AccessKey"]
    assert office.as_key("sts", key).get_caller_identity()["Arn"].endswith(":user/clouds")
    assert office.as_key("s3", key).list_buckets()["Buckets"] == []
    assert office.answer(key) == REFUSED
    with pytest.raises(ClientError, match=UNKNOWN):
        office.as_key("s3", alice).list_buckets()


def test_secrets_are_in_no_file_and_no_argument_list(office: Office, alice: Key) -> None:
    office.iam("create-role", "leaky")
    made = office.read("assume-role", "leaky")
    office.iam("delete-role", "leaky")
    secrets = [value.encode() for value in (alice["SecretAccessKey"], made["SecretAccessKey"], made["SessionToken"])]
    places = {path for path in office.home.rglob("*") if path.is_file() and not path.is_symlink()}
    assert any("postgres" in path.parts for path in places)
    for path in places:
        content = path.read_bytes()
        assert not any(secret in content for secret in secrets), path
    arguments = b"".join(_read(path) for path in Path("/proc").glob("[0-9]*/cmdline"))
    assert not any(secret in arguments for secret in secrets)
    administrator = office.installation.admin_secret_key.encode()
    assert [path for path in places if administrator in path.read_bytes()] == []
    for path in (office.layout.installation_file, office.layout.installation_copy):
        assert path.stat().st_mode & 0o777 == 0o600
    assert administrator not in arguments


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended
        return b""


def test_a_kill_before_the_key_is_written_leaves_none(office: Office, alice: Key) -> None:
    office.killed("aerodrome.store.access_keys:AccessKeyStore._insert", "iam", "create-access-key", "alice")
    assert [key["AccessKeyId"] for key in office.read("list-access-keys", "alice")] == [alice["AccessKeyId"]]
    assert office.answer(alice) == "ok"
    office.iam("create-access-key", "alice")


def test_a_kill_before_the_key_is_shown_leaves_one_that_can_be_deleted(office: Office, alice: Key) -> None:
    shown = office.killed("aerodrome.store.access_keys:AccessKeyStore.create", "iam", "create-access-key", "alice")
    assert shown == ""
    _, lost = office.read("list-access-keys", "alice")
    office.iam("delete-access-key", lost["AccessKeyId"])
    office.iam("create-access-key", "alice")


STEPS = (
    "aerodrome.sealed_files:write_file!",
    "aerodrome.sealed_files:write_file",
    "aerodrome.aws.cloud:CloudSocket.ensure_admin",
    "aerodrome.store.access_keys:AccessKeyStore.ensure_administrator",
    "aerodrome.machineroom.installation:write_file",
    "aerodrome.machineroom.administrator:save",
    "aerodrome.aws.cloud:CloudSocket.forget_key",
    "aerodrome.store.access_keys:AccessKeyStore.forget",
)


@pytest.mark.parametrize("step", STEPS)
def test_the_administrators_key_is_exchanged_whatever_kills_it(office: Office, step: str) -> None:
    before = _administrator(office)
    office.killed(step, "iam", "rotate-administrator")
    assert office.answer() == "ok", "the recorded key works at every moment"
    assert office.as_key("s3").list_buckets()["Buckets"] == []
    if step.endswith(("ensure_administrator", "forget_key")):
        office.aerodrome("up", "--detach")
    else:
        office.iam("rotate-administrator")
    after = _administrator(office)
    assert after["AccessKeyId"] != before["AccessKeyId"]
    assert office.answer(after) == "ok"
    assert office.answer(before) == REFUSED
    with pytest.raises(ClientError, match=UNKNOWN):
        office.as_key("s3", before).list_buckets()
    assert office.read("get-user", "admin")["AccessKeys"] == [after["AccessKeyId"]]
    listed = office.as_key("iam").list_access_keys(UserName="admin")["AccessKeyMetadata"]
    assert [key["AccessKeyId"] for key in listed] == [after["AccessKeyId"]]
    assert not (office.layout.secrets / "administrator.json").exists()
    assert json.loads(office.layout.installation_copy.read_text())["admin_access_key"] == after["AccessKeyId"]


def _administrator(office: Office) -> Key:
    recorded = office.installation
    return {"AccessKeyId": recorded.admin_access_key, "SecretAccessKey": recorded.admin_secret_key}


def test_an_exchange_of_the_key_disturbs_nobody(office: Office, alice: Key) -> None:
    server = _pid(office)
    answers: list[str] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answers.append(office.answer(alice))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        office.iam("rotate-administrator")
    finally:
        over.set()
        asking.join()
    assert set(answers) == {"ok"}
    assert len(answers) > 5
    assert _pid(office) == server
    os.kill(server, 0)


def _pid(office: Office) -> int:
    programs = json.loads(office.aerodrome("status", "--json").stdout)["programs"]
    return int(next(program["pid"] for program in programs if program["name"] == "server"))


def test_the_choice_is_remembered_and_can_be_changed(office: Office, alice: Key) -> None:
    office.aerodrome("up", "--detach")
    assert office.answer(alice) == "ok"
    office.variables["AERODROME_IDENTITY"] = "embedded"
    try:
        office.aerodrome("up", "--detach")
        del office.variables["AERODROME_IDENTITY"]
        assert office.answer(alice) == REFUSED
        assert office.answer() == "ok"
        refused = office.aerodrome("iam", "list-users", check=False)
        assert refused.returncode == 1
        assert "aws iam create-user" in refused.stderr
        before = _administrator(office)
        office.iam("rotate-administrator")
        assert (office.answer(), office.as_key("sts").get_caller_identity()["Account"]) == ("ok", "100000000001")
        with pytest.raises(ClientError, match="InvalidClientTokenId"):
            office.as_key("sts", before).get_caller_identity()
    finally:
        office.variables["AERODROME_IDENTITY"] = "table"
        office.aerodrome("up", "--detach")
        del office.variables["AERODROME_IDENTITY"]
    assert office.answer(alice) == "ok", "what the table holds has stayed"
    assert office.answer(before) == REFUSED, "an old key doesn't come back with it"

"""UpdateEnvironment through boto3's own client: what is refused changes nothing, what is accepted is one row."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from botocore.exceptions import ClientError

from aerodrome.domain.environment import Environment, Status
from aerodrome.store.database import Pool
from support.mwaa import ACCOUNT, ROLE, House, open_house

OTHER = f"arn:aws:iam::{ACCOUNT}:role/other"


@pytest.fixture
async def available(house: House) -> House:
    await house.create(AirflowConfigurationOptions={"smtp.smtp_password": "hunter2"})
    (row,) = await house.store.all()
    assert await house.store.update(row, status=Status.AVAILABLE, applied=row.desired) is not None
    house.poked.clear()
    return house


async def row_of(house: House) -> Environment:
    (row,) = await house.store.all()
    return row


async def test_an_update_is_one_row_and_a_poke(available: House) -> None:
    before = await row_of(available)
    answer = await available.call("update_environment", Name="demo", MaxWorkers=7, WorkerReplacementStrategy="GRACEFUL")
    assert answer["Arn"] == before.key.arn
    after = await row_of(available)
    assert after.status is Status.UPDATING
    assert (after.desired, after.applied) == ({**before.desired, "MaxWorkers": 7}, before.desired)
    assert available.poked == [before.id]
    shown = (await available.call("get_environment", Name="demo"))["Environment"]
    assert (shown["Status"], shown["MaxWorkers"]) == ("UPDATING", before.desired["MaxWorkers"]), "what is in force"
    last = shown["LastUpdate"]
    assert (last["Status"], last["Source"], last["WorkerReplacementStrategy"]) == (
        "PENDING",
        "UpdateEnvironment",
        "GRACEFUL",
    )


async def test_its_event_names_members_and_no_values(available: House) -> None:
    options = {"smtp.smtp_password": "correct horse"}
    await available.call("update_environment", Name="demo", AirflowConfigurationOptions=options, MaxWorkers=7)
    _, body = await available.history("demo")
    event = body["Events"][-1]
    assert event["Type"] == "update.requested"
    assert event["Message"] == "UpdateEnvironment: AirflowConfigurationOptions, MaxWorkers"
    assert event["Actor"] == f"arn:aws:iam::{ACCOUNT}:user/admin"
    assert event["Data"]["members"] == ["AirflowConfigurationOptions", "MaxWorkers"]
    assert "horse" not in str(body)
    assert "hunter2" not in str(body)


async def test_an_update_with_nothing_in_it_is_accepted(available: House) -> None:
    before = await row_of(available)
    await available.call("update_environment", Name="demo")
    after = await row_of(available)
    assert after.status is Status.UPDATING
    assert after.desired == before.desired
    assert after.revision != before.revision


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.AVAILABLE, Status.UPDATE_FAILED}))
async def test_an_update_in_the_wrong_status(available: House, status: Status) -> None:
    await available.become("demo", status)
    refusal = await available.refused("update_environment", Name="demo", MaxWorkers=7)
    assert refusal["Error"] == {
        "Code": "ValidationException",
        "Message": f"Environments with {status} status cannot be updated.",
    }
    assert (await row_of(available)).status is status


async def test_what_failed_to_update_can_be_updated(available: House) -> None:
    await available.become("demo", Status.UPDATE_FAILED)
    await available.call("update_environment", Name="demo", MaxWorkers=7)
    assert (await row_of(available)).status is Status.UPDATING


async def test_of_updates_at_the_same_instant_one_wins(available: House) -> None:
    calls = (available.call("update_environment", Name="demo", MaxWorkers=number) for number in range(2, 8))
    results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [result.response["Error"] for result in results if isinstance(result, ClientError)]
    assert len(refused) == 5
    assert {error["Message"] for error in refused} == {"Environments with UPDATING status cannot be updated."}
    winner = next(number for number, result in enumerate(results, 2) if not isinstance(result, ClientError))
    assert (await row_of(available)).desired["MaxWorkers"] == winner
    assert len(available.poked) == 1


async def test_an_update_during_an_update_and_a_delete_during_one(available: House) -> None:
    await available.call("update_environment", Name="demo", MaxWorkers=7)
    refusal = await available.refused("update_environment", Name="demo", MaxWorkers=8)
    assert refusal["Error"]["Message"] == "Environments with UPDATING status cannot be updated."
    await available.call("delete_environment", Name="demo")
    assert (await row_of(available)).status is Status.DELETING


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"MaxWorkers": 26}, "MaxWorkers: 26"),
        ({"MinWorkers": 11}, "MinWorkers: 11 is more than MaxWorkers (10)"),
        ({"EnvironmentClass": "mw1.giant"}, "mw1.giant"),
        ({"AirflowVersion": "2.11.2"}, "Aerodrome has no upgrades yet"),
        ({"AirflowConfigurationOptions": {"core.fernet_key": "swordfish"}}, "core.fernet_key"),
        ({"RequirementsS3Path": "nowhere.txt"}, "RequirementsS3Path: there is no object"),
        ({"Teams": {"Remove": ["one"]}}, "Teams"),
        ({"SourceBucketArn": "arn:aws:s3:::missing"}, "there is no bucket missing"),
        ({"SourceBucketArn": "arn:aws:s3:::unversioned"}, "versioning is not enabled"),
        ({"SourceBucketArn": "arn:aws:s3:::forbidden", "DagS3Path": "x"}, "s3 location forbidden/x"),
        ({"ExecutionRoleArn": OTHER}, "ExecutionRoleArn: There is no role"),
    ],
)
async def test_what_cannot_be_is_refused_in_the_call_and_changes_nothing(
    available: House, members: dict[str, Any], words: str
) -> None:
    before = await row_of(available)
    refusal = await available.refused("update_environment", Name="demo", **members)
    assert refusal["Error"]["Code"] == "ValidationException"
    assert words in refusal["Error"]["Message"]
    assert "swordfish" not in str(refusal)
    assert await row_of(available) == before
    assert available.poked == []


async def test_the_same_version_is_accepted(available: House) -> None:
    await available.call("update_environment", Name="demo", AirflowVersion="3.3.1")
    assert (await row_of(available)).status is Status.UPDATING


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ({"KmsKey": "arn:aws:kms:eu-west-1:100000000001:key/x"}, "KmsKey"),
        ({"EndpointManagement": "CUSTOMER"}, "EndpointManagement"),
        (
            {"NetworkConfiguration": {"SubnetIds": ["subnet-1", "subnet-3"], "SecurityGroupIds": ["sg-1"]}},
            "NetworkConfiguration.SubnetIds",
        ),
    ],
)
async def test_what_is_fixed_at_create_is_refused(available: House, members: dict[str, Any], word: str) -> None:
    """The SDKs refuse it themselves; whoever calls without one learns that it did nothing."""
    status, body = await available.patch("demo", members)
    assert status == 400
    assert f"{word}: can't be changed after the create" in body["message"]
    assert (await row_of(available)).status is Status.AVAILABLE


async def test_security_groups_change_and_subnets_stay(available: House) -> None:
    given = {"SecurityGroupIds": ["sg-2", "sg-3"]}
    await available.call("update_environment", Name="demo", NetworkConfiguration=given)
    network = (await row_of(available)).desired["NetworkConfiguration"]
    assert network == {"SubnetIds": ["subnet-1", "subnet-2"], **given}


async def test_who_may_update_and_who_may_pass_a_role(available: House) -> None:
    available.account.roles.add(OTHER)
    policy = {"Effect": "Allow", "Action": "airflow:UpdateEnvironment", "Resource": "*"}
    available.account.policies["updater"] = [policy]
    available.account.policies["reader"] = [{**policy, "Action": "airflow:GetEnvironment"}]
    denied = await available.refused("update_environment", key="reader", Name="demo", MaxWorkers=7)
    assert denied["Error"]["Code"] == "AccessDeniedException"
    refusal = await available.refused("update_environment", key="updater", Name="demo", ExecutionRoleArn=OTHER)
    assert "is not authorized to perform: iam:PassRole" in refusal["Error"]["Message"]
    assert (await row_of(available)).status is Status.AVAILABLE
    await available.call("update_environment", key="updater", Name="demo", ExecutionRoleArn=ROLE, MaxWorkers=7)
    await available.become("demo", Status.AVAILABLE)
    available.account.policies["updater"].append({"Effect": "Allow", "Action": "iam:PassRole", "Resource": OTHER})
    await available.call("update_environment", key="updater", Name="demo", ExecutionRoleArn=OTHER)
    assert (await row_of(available)).desired["ExecutionRoleArn"] == OTHER


async def test_an_unknown_environment_is_404(house: House) -> None:
    refusal = await house.refused("update_environment", Name="nobody", MaxWorkers=2)
    assert refusal["Error"]["Code"] == "ResourceNotFoundException"


async def test_a_write_in_between_is_not_lost(available: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reconciler's, say: the update is made of the newer row."""
    update, wrote = available.store.update, list[str]()

    async def second(before: Environment, *rest: Any, **changes: Any) -> Environment | None:
        if not wrote:
            wrote.append("first")
            assert await update(before, runtime="3.3.1-test") is not None
        return await update(before, *rest, **changes)

    monkeypatch.setattr(available.store, "update", second)
    await available.call("update_environment", Name="demo", MaxWorkers=7)
    row = await row_of(available)
    assert (row.status, row.runtime, row.desired["MaxWorkers"]) == (Status.UPDATING, "3.3.1-test", 7)


@pytest.mark.parametrize("given", [None, "GRACEFUL"])
async def test_without_a_strategy_strict_means_forced(pool: Pool, given: str | None) -> None:
    """MWAA's default (mwaa-spec 1.5)."""
    async with open_house(pool, strict=True) as house:
        await house.create()
        await house.become("demo", Status.AVAILABLE)
        params = {"WorkerReplacementStrategy": given} if given else {}
        await house.call("update_environment", Name="demo", MaxWorkers=7, **params)
        shown = (await house.call("get_environment", Name="demo"))["Environment"]
        assert shown["LastUpdate"]["WorkerReplacementStrategy"] == (given or "FORCED")

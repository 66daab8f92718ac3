"""`KmsKey`: an environment sealed under a key of AWS KMS, from its create to what becomes of it without the key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr

from aerodrome.aws.clients import AwsClients
from aerodrome.aws.kms import AwsKms, own_kms
from aerodrome.domain.environment import EnvironmentKey, Status
from aerodrome.errors import Temporary
from aerodrome.store.data_keys import KeyRing
from aerodrome.store.database import Pool
from aerodrome.store.environments import EnvironmentStore
from aerodrome.vault import KeyUnusable, Vault
from support.fake_kms import FakeKms, Key, serving_kms
from support.mwaa import GIVEN, House, open_house
from support.reconciling import control_plane, settle
from support.world import World

ID = "0b1f7e42-7a1c-4a53-9f7e-1d5f3d9b2c11"
ARN = f"arn:aws:kms:eu-west-1:100000000001:key/{ID}"
OPTIONS = {"smtp.smtp_password": "hunter2"}


@pytest.fixture(scope="module")
def server() -> Iterator[FakeKms]:
    with serving_kms() as kms:
        yield kms


@pytest.fixture
def kms(server: FakeKms) -> FakeKms:
    server.keys = {ID: Key()}
    server.asked.clear()
    return server


def service_of(kms: FakeKms) -> AwsKms:
    endpoints = {"KMS": kms.url}
    found = own_kms(AwsClients(endpoints), endpoints, "AKIAOURS", SecretStr("secret"))
    assert found is not None
    return found


@dataclass
class Sealed:
    """A house whose environments may be sealed under keys of KMS."""

    house: House
    pool: Pool
    kms: FakeKms
    service: AwsKms

    def anew(self) -> EnvironmentStore:
        """The store of a control plane that starts now, or whose open keys have run out."""
        return EnvironmentStore(self.pool, KeyRing(Vault(b"k" * 32), self.service))

    async def refused(self, **members: Any) -> str:
        refusal = await self.house.refused("create_environment", **{**GIVEN, "Name": "demo", "KmsKey": ARN, **members})
        assert refusal["Error"]["Code"] == "ValidationException"
        assert await self.anew().all() == []
        return str(refusal["Error"]["Message"])

    async def made(self) -> str:
        await self.house.create("demo", KmsKey=ARN, AirflowConfigurationOptions=OPTIONS)
        (row,) = await self.anew().all()
        return row.id


@pytest.fixture
async def sealed(pool: Pool, kms: FakeKms) -> AsyncIterator[Sealed]:
    service = service_of(kms)
    store = EnvironmentStore(pool, KeyRing(Vault(b"k" * 32), service))
    async with open_house(pool, store=store, kms=service) as house:
        yield Sealed(house, pool, kms, service)


async def test_it_is_shown_and_everything_is_sealed_under_it(sealed: Sealed) -> None:
    environment_id = await sealed.made()
    shown = (await sealed.house.call("get_environment", Name="demo"))["Environment"]
    assert (shown["KmsKey"], shown["AirflowConfigurationOptions"]) == (ARN, OPTIONS)
    context = {"airflow:EnvironmentArn": shown["Arn"]}
    used = [asked for operation, asked in sealed.kms.asked if operation != "DescribeKey"]
    assert used
    assert all((asked["KeyId"], asked["EncryptionContext"]) == (ARN, context) for asked in used)
    sealed.kms.keys[ID] = Key()  # another one
    with pytest.raises(KeyUnusable, match="damaged, or another environment's"):
        await sealed.anew().secrets(environment_id)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (None, ["NotFoundException"]),
        (Key(state="Disabled"), ["is disabled", "enable-key"]),
        (Key(state="PendingDeletion"), ["PendingDeletion", "must be Enabled"]),
        (Key(spec="RSA_2048"), ["not symmetric", "SYMMETRIC_DEFAULT"]),
        (Key(multi_region=True), ["multi-Region"]),
        (Key(denied=frozenset({"DescribeKey"})), ["AccessDeniedException", "kms:GenerateDataKey"]),
        (Key(denied=frozenset({"GenerateDataKey"})), ["AccessDeniedException", "kms:GenerateDataKey"]),
    ],
)
async def test_a_key_that_cant_be_used_is_refused_by_name(sealed: Sealed, key: Key | None, words: list[str]) -> None:
    sealed.kms.keys = {} if key is None else {ID: key}
    message = await sealed.refused()
    assert message.startswith("Invalid request provided: KmsKey: ")
    assert all(word in message for word in [*words, ARN]), message


async def test_an_alias_and_another_regions_key_are_refused_without_asking(sealed: Sealed) -> None:
    assert "is an alias" in await sealed.refused(KmsKey="alias/mine")
    assert "a key of us-east-1" in await sealed.refused(KmsKey=ARN.replace("eu-west-1", "us-east-1"))
    assert sealed.kms.asked == []


async def test_without_aws_kms_it_is_refused(house: House) -> None:
    refusal = await house.refused("create_environment", **{**GIVEN, "Name": "demo", "KmsKey": ARN})
    assert "the embedded cloud's encrypts nothing" in refusal["Error"]["Message"]


async def test_a_disabled_key_is_told_loses_nothing_and_what_runs_runs_on(sealed: Sealed) -> None:
    environment_id = await sealed.made()
    world = World()
    await settle(control_plane(sealed.anew(), world), environment_id)
    running = dict(world.backend.components[environment_id])
    assert running
    sealed.kms.keys[ID].state = "Disabled"
    told = len(world.told)
    store = sealed.anew()
    plane = control_plane(store, world)
    for _ in range(2):
        assert await plane.reconcile(environment_id) == 30.0
    assert [event[0] for event in world.told[told:]] == ["error"], "once"
    assert all(word in world.told[-1][1] for word in (ARN, "environment/demo", "enable-key"))
    assert world.backend.components[environment_id] == running
    row = await store.by_id(environment_id)
    assert row is not None
    assert row.last_update is not None
    assert (row.status, row.last_update.status) == (Status.UNAVAILABLE, "FAILED")
    assert "enable-key" in (row.last_update.error_message or "")
    assert "AirflowConfigurationOptions" not in row.desired

    sealed.kms.keys[ID].state = "Enabled"
    await settle(plane, environment_id)
    again = await store.by_id(environment_id)
    assert again is not None
    assert (again.status, again.desired["AirflowConfigurationOptions"]) == (Status.AVAILABLE, OPTIONS)
    assert world.backend.components[environment_id] == running


async def test_the_api_says_so_and_refuses_what_needs_the_key(sealed: Sealed) -> None:
    environment_id = await sealed.made()
    await settle(control_plane(sealed.anew(), World()), environment_id)
    sealed.kms.keys[ID].state = "Disabled"
    async with open_house(sealed.pool, store=sealed.anew(), kms=sealed.service) as house:
        shown = (await house.call("get_environment", Name="demo"))["Environment"]
        assert (shown["Status"], shown["LastUpdate"]["Status"]) == ("UNAVAILABLE", "FAILED")
        assert ARN in shown["LastUpdate"]["Error"]["ErrorMessage"]
        refusal = await house.refused("update_environment", Name="demo", MaxWorkers=3)
        assert "UNAVAILABLE" in refusal["Error"]["Message"]
        await house.call("tag_resource", ResourceArn=shown["Arn"], Tags={"a": "b"})
        sealed.kms.keys[ID].state = "Enabled"
        assert (await house.call("get_environment", Name="demo"))["Environment"]["Status"] == "AVAILABLE"


async def test_an_environment_whose_key_is_deleted_can_be_deleted(sealed: Sealed) -> None:
    environment_id = await sealed.made()
    world = World()
    await settle(control_plane(sealed.anew(), world), environment_id)
    sealed.kms.keys.clear()
    async with open_house(sealed.pool, store=sealed.anew(), kms=sealed.service) as house:
        await house.call("delete_environment", Name="demo")
    await settle(control_plane(sealed.anew(), world), environment_id)
    assert await sealed.anew().all() == []
    assert not world.backend.components.get(environment_id)


async def test_one_that_never_ran_is_create_failed(sealed: Sealed) -> None:
    environment_id = await sealed.made()
    sealed.kms.keys[ID].state = "Disabled"
    store = sealed.anew()
    await control_plane(store, World()).reconcile(environment_id)
    row = await store.by_id(environment_id)
    assert row is not None
    assert row.last_update is not None
    assert (row.status, row.last_update.error_code) == (Status.CREATE_FAILED, "INCORRECT_CONFIGURATION")
    assert "enable-key" in (row.last_update.error_message or "")


async def test_a_kms_that_is_away_is_tried_again(sealed: Sealed) -> None:
    environment_id = await sealed.made()
    endpoints = {"KMS": "http://127.0.0.1:9"}
    away = own_kms(AwsClients(endpoints), endpoints, "AKIAOURS", SecretStr("secret"))
    assert away is not None
    store = EnvironmentStore(sealed.pool, KeyRing(Vault(b"k" * 32), away))
    with pytest.raises(Temporary, match="KMS doesn't answer"):
        await store.by_id(environment_id)
    with pytest.raises(Temporary):
        await away.check(ARN, EnvironmentKey("aws", "100000000001", "eu-west-1", "demo"))


def test_no_kms_without_an_endpoint_and_a_key_of_our_own() -> None:
    clients, secret = AwsClients({}), SecretStr("secret")
    assert own_kms(clients, {}, "AKIAOURS", secret) is None
    assert own_kms(clients, {"KMS": "http://127.0.0.1:1"}, None, None) is None

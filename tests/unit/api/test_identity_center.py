"""IdentityCenterConfiguration: the installation's own identity provider, or none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from aerodrome.domain.environment import Status
from aerodrome.store.database import Pool
from support.mwaa import GIVEN, House, open_house

ISSUER = "https://id.example.com/staff"
CENTER = {"StartUrl": ISSUER, "IdentityStoreId": "d-0123456789"}
EVIL = {**CENTER, "StartUrl": "https://evil.example.com/staff"}


@pytest.fixture
async def house(pool: Pool) -> AsyncIterator[House]:
    async with open_house(pool, issuer=ISSUER) as house:
        yield house


async def shown(house: House) -> Any:
    return (await house.call("get_environment", Name="demo"))["Environment"].get("IdentityCenterConfiguration")


@pytest.mark.parametrize("slash", ["", "/"])
async def test_it_is_kept_and_shown_as_it_was_given(house: House, slash: str) -> None:
    await house.create("demo", IdentityCenterConfiguration={**CENTER, "StartUrl": ISSUER + slash})
    assert await shown(house) == {**CENTER, "StartUrl": ISSUER + slash}


async def test_another_issuer_is_refused_and_the_known_one_named(house: House) -> None:
    refused = await house.refused("create_environment", **GIVEN, Name="demo", IdentityCenterConfiguration=EVIL)
    assert refused["Error"] == {
        "Code": "ValidationException",
        "Message": "Invalid request provided: IdentityCenterConfiguration: StartUrl: https://evil.example.com/staff is"
        f" not the identity provider of this installation, which is {ISSUER}; use that, or leave the field out.",
    }


async def test_without_a_provider_every_issuer_is_refused(pool: Pool) -> None:
    async with open_house(pool) as house:
        refused = await house.refused("create_environment", **GIVEN, Name="demo", IdentityCenterConfiguration=CENTER)
        assert "it has none. Set AERODROME_OIDC_ISSUER" in refused["Error"]["Message"]


async def test_half_of_it_is_refused(house: House) -> None:
    refused = await house.refused(
        "create_environment", **GIVEN, Name="demo", IdentityCenterConfiguration={"StartUrl": ISSUER}
    )
    assert "IdentityStoreId must be set" in refused["Error"]["Message"]


async def test_an_update_brings_it_and_an_empty_one_takes_it_away(house: House) -> None:
    await house.create("demo")
    for center, kept in ((CENTER, CENTER), ({}, None)):
        await house.become("demo", Status.AVAILABLE)
        await house.call("update_environment", Name="demo", IdentityCenterConfiguration=center)
        (environment,) = await house.store.all()
        assert environment.desired.get("IdentityCenterConfiguration") == kept


async def test_an_update_to_another_issuer_is_refused(house: House) -> None:
    await house.create("demo", IdentityCenterConfiguration=CENTER)
    await house.become("demo", Status.AVAILABLE)
    refused = await house.refused("update_environment", Name="demo", IdentityCenterConfiguration=EVIL)
    assert "evil.example.com/staff is not the identity provider" in refused["Error"]["Message"]
    assert await shown(house) == CENTER


async def test_an_issuer_of_former_days_keeps_no_other_update_back(house: House, pool: Pool) -> None:
    await house.create("demo", IdentityCenterConfiguration=CENTER)
    await house.become("demo", Status.AVAILABLE)
    async with open_house(pool) as later:
        await later.call("update_environment", Name="demo", MaxWorkers=3)
        (environment,) = await later.store.all()
        assert environment.desired["IdentityCenterConfiguration"] == CENTER

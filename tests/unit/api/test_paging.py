"""Page tokens of ListEnvironments: opaque, good after a restart, bound to where they were made."""

from __future__ import annotations

import base64
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerodrome.api.paging import open_token, seal_token
from aerodrome.errors import ApiError
from aerodrome.store.database import Pool
from aerodrome.store.vault import Vault
from support.mwaa import ALL, House, open_house

VAULT, SCOPE = Vault(b"k" * 32), "ListEnvironments/aws/100000000001/eu-west-1"
TOKEN = seal_token(VAULT, SCOPE, "demo")


def refused(token: str, vault: Vault = VAULT, scope: str = SCOPE) -> None:
    with pytest.raises(ApiError, match="NextToken") as caught:
        open_token(vault, scope, token)
    assert (caught.value.code, caught.value.status) == ("ValidationException", 400)


def test_a_token_opens_where_it_was_made_and_tells_nothing() -> None:
    assert open_token(VAULT, SCOPE, TOKEN) == "demo"
    assert b"demo" not in base64.urlsafe_b64decode(TOKEN)
    assert seal_token(VAULT, SCOPE, "demo") != TOKEN
    assert open_token(VAULT, SCOPE, "") == open_token(VAULT, SCOPE, None) == ""


def test_a_token_fits_in_the_model_whatever_the_name() -> None:
    assert len(seal_token(VAULT, SCOPE, "n" * 80)) <= 2048


@pytest.mark.parametrize("other", ["aws-cn/100000000001/eu-west-1", "aws/2/eu-west-1", "aws/100000000001/us-east-1"])
def test_another_partition_account_or_region_refuses_it(other: str) -> None:
    refused(TOKEN, scope=f"ListEnvironments/{other}")


def test_another_installation_and_another_use_refuse_it() -> None:
    refused(TOKEN, vault=Vault(b"x" * 32))
    refused(base64.urlsafe_b64encode(VAULT.seal(b"demo", "0123456789ab")).decode())


@settings(max_examples=300, deadline=None, database=None)
@given(st.integers(0, len(TOKEN) - 1), st.sampled_from(string.printable + "é\0"))
def test_no_character_of_it_can_be_changed(place: int, character: str) -> None:
    changed = TOKEN[:place] + character + TOKEN[place + 1 :]
    if changed != TOKEN:
        refused(changed)


@settings(max_examples=200, deadline=None, database=None)
@given(st.integers(0, len(TOKEN)), st.text(min_size=1, max_size=5))
def test_nothing_can_be_put_in_or_left_out(place: int, text: str) -> None:
    refused(TOKEN[:place] + text + TOKEN[place:])
    if place:
        refused(TOKEN[: place - 1] + TOKEN[place:])


@settings(max_examples=200, deadline=None, database=None)
@given(st.text(min_size=1, max_size=300) | st.binary(min_size=1, max_size=200).map(base64.b64encode).map(bytes.decode))
def test_what_was_made_up_is_refused(token: str) -> None:
    refused(token)


async def test_a_token_outlives_a_restart_but_not_the_master_key(house: House, pool: Pool) -> None:
    for name in ("a", "b", "c"):
        await house.create(name)
    token = (await house.call("list_environments", MaxResults=1))["NextToken"]
    async with open_house(pool) as restarted:
        page = await restarted.call("list_environments", MaxResults=2, NextToken=token)
        assert page["Environments"] == ["b", "c"]
    async with open_house(pool, vault=Vault(b"x" * 32)) as foreign:
        refusal = await foreign.refused("list_environments", NextToken=token)
        assert refusal["Error"]["Code"] == "ValidationException"


async def test_another_account_lists_its_own_and_refuses_the_token(house: House) -> None:
    for name in ("a", "b"):
        await house.create(name)
    token = (await house.call("list_environments", MaxResults=1))["NextToken"]
    house.account.policies["stranger"] = [ALL]
    house.account.places["stranger"] = ("aws", "200000000002")
    assert (await house.call("list_environments", key="stranger"))["Environments"] == []
    refusal = await house.refused("list_environments", key="stranger", NextToken=token)
    assert refusal["Error"]["Code"] == "ValidationException"


async def test_names_that_come_and_go_between_pages_shift_nothing(house: House) -> None:
    for name in ("b", "d", "f"):
        await house.create(name)
    first = await house.call("list_environments", MaxResults=2)
    assert first["Environments"] == ["b", "d"]
    for row in await house.store.all():
        if row.key.name == "d":  # the very name that the token stands at
            await house.store.delete(row.id)
    await house.create("a")
    await house.create("e")
    rest = await house.call("list_environments", NextToken=first["NextToken"])
    assert rest["Environments"] == ["e", "f"]
    assert "NextToken" not in rest

"""A data key for each environment, the master key around it, and the exchange of either."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from aerodrome.domain.environment import Environment, EnvironmentKey
from aerodrome.domain.iam import Kind, Who
from aerodrome.errors import Permanent, Temporary
from aerodrome.store import sealed
from aerodrome.store.access_keys import AccessKeyStore
from aerodrome.store.callers import TablePrincipals
from aerodrome.store.data_keys import KeyRing, wrapping
from aerodrome.store.database import Pool, transaction
from aerodrome.store.environments import EnvironmentStore
from aerodrome.store.rekeying import rekey, rekey_old, rewrap
from aerodrome.vault import DataKey, KeyUnusable, Vault
from support.identities import ACCOUNT, Table
from support.world import SECRETS, environment

OLD, NEW = b"k" * 32, b"n" * 32
OPTIONS = {"AirflowConfigurationOptions": {"smtp.smtp_password": "hunter2"}}
KMS_KEY = "arn:aws:kms:eu-west-1:100000000001:key/0b1f-e"


def both() -> Vault:
    """While the master key is exchanged."""
    return Vault(lambda: (NEW, OLD))


async def made(pool: Pool, name: str = "demo", number: int = 1, **members: Any) -> Environment:
    row = replace(environment(name, id_=f"{number:012x}"), desired={**OPTIONS, **members})
    await EnvironmentStore(pool, Vault(OLD)).insert(row, f"127.83.1.{number}", SECRETS)
    whole = await EnvironmentStore(pool, Vault(OLD)).update(row, applied=row.desired, made={"recipe": {"a": "b"}})
    assert whole is not None
    return whole


async def row_of(pool: Pool, environment_id: str) -> Mapping[str, Any]:
    async with pool.connection() as connection:
        rows = await connection.execute("SELECT * FROM environments WHERE id = %s", (environment_id,))
        row = await rows.fetchone()
    assert row is not None
    return row


async def write(pool: Pool, environment_id: str, **columns: Any) -> None:
    async with pool.connection() as connection:
        for name, value in columns.items():
            await connection.execute(
                f"UPDATE environments SET {name} = %s WHERE id = %s",  # noqa: S608 - names of ours
                (value, environment_id),
            )


async def as_an_earlier_release(pool: Pool, row: Environment) -> None:
    """As it sealed: each member with a data key of its own, under the master key."""
    vault = Vault(OLD)
    assert row.applied is not None
    await write(
        pool,
        row.id,
        desired=sealed.seal_members(vault, row.id, row.desired),
        applied=sealed.seal_members(vault, row.id, row.applied),
        made=vault.seal(json.dumps(row.made).encode(), f"{row.id}/made"),
        secrets=vault.seal(json.dumps(SECRETS.to_json()).encode(), row.id),
        data_key=None,
    )


async def assert_opens(pool: Pool, row: Environment, keys: KeyRing | Vault) -> None:
    store = EnvironmentStore(pool, keys)
    assert await store.secrets(row.id) == SECRETS
    found = await store.by_id(row.id)
    assert found is not None
    assert (found.desired, found.applied, found.made) == (row.desired, row.applied, row.made)


async def test_nothing_of_an_environment_opens_without_its_own_data_key(pool: Pool) -> None:
    one, two = await made(pool), await made(pool, "other", 2)
    theirs = (await row_of(pool, two.id))["data_key"]
    await write(pool, one.id, data_key=theirs)
    with pytest.raises(Permanent, match="master key"):
        await EnvironmentStore(pool, Vault(OLD)).by_id(one.id)
    inner = Vault(OLD).open(bytes(theirs), f"{two.id}/data key")
    row = await row_of(pool, one.id)
    for opened in (sealed.open_secrets, sealed.open_made):
        with pytest.raises(Permanent, match="its data key"):
            opened(DataKey(inner), one.id, row["secrets" if opened is sealed.open_secrets else "made"])
    with pytest.raises(Permanent, match="its data key"):
        sealed.open_members(DataKey(inner), one.id, row["desired"])
    await assert_opens(pool, two, Vault(OLD))


async def test_a_row_of_an_earlier_release_opens_and_gets_a_data_key(pool: Pool) -> None:
    row = await made(pool)
    await as_an_earlier_release(pool, row)
    await assert_opens(pool, row, Vault(OLD))
    written = await EnvironmentStore(pool, Vault(OLD)).update(row, runtime="3.3.1-x")
    assert written is not None
    await assert_opens(pool, row, Vault(OLD))
    assert (await row_of(pool, row.id))["data_key"] is None
    assert await rekey_old(pool, KeyRing(Vault(OLD))) == [row.id]
    assert (await row_of(pool, row.id))["data_key"] is not None
    await assert_opens(pool, row, Vault(OLD))
    assert await rekey_old(pool, KeyRing(Vault(OLD))) == []


async def test_one_damaged_row_keeps_no_other_from_its_data_key(pool: Pool) -> None:
    rows = [await made(pool, f"demo-{n}", n) for n in (1, 2)]
    for row in rows:
        await as_an_earlier_release(pool, row)
    await write(pool, rows[0].id, secrets=b"torn")
    assert await rekey_old(pool, KeyRing(Vault(OLD))) == [rows[1].id]
    assert bytes((await row_of(pool, rows[0].id))["secrets"]) == b"torn"


async def test_another_data_key_opens_all_and_the_one_before_nothing(pool: Pool) -> None:
    row = await made(pool)
    before = await row_of(pool, row.id)
    old = DataKey(Vault(OLD).open(bytes(before["data_key"]), f"{row.id}/data key"))
    assert sealed.open_secrets(old, row.id, before["secrets"]) == SECRETS
    store = EnvironmentStore(pool, Vault(OLD))  # that has the key before open in memory
    assert await store.secrets(row.id) == SECRETS
    assert await rekey(pool, KeyRing(Vault(OLD)), row.id)
    after = await row_of(pool, row.id)
    assert all(before[name] != after[name] for name in ("data_key", "secrets", "desired", "applied", "made"))
    with pytest.raises(Permanent, match="its data key"):
        sealed.open_secrets(old, row.id, after["secrets"])
    assert await store.secrets(row.id) == SECRETS
    await assert_opens(pool, row, Vault(OLD))
    assert not await rekey(pool, KeyRing(Vault(OLD)), "f" * 12)


async def test_who_read_before_writes_nothing_under_the_old_data_key(pool: Pool) -> None:
    row = await made(pool)
    store = EnvironmentStore(pool, Vault(OLD))
    read = await store.by_id(row.id)
    assert read is not None
    await rekey(pool, KeyRing(Vault(OLD)), row.id)
    assert await store.update(read, made={}) is None
    again = await store.by_id(row.id)
    assert again is not None
    assert await store.update(again, made={"recipe": {"c": "d"}}) is not None
    await assert_opens(pool, replace(row, made={"recipe": {"c": "d"}}), Vault(OLD))


async def test_a_row_is_whole_if_its_new_key_is_not_written(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    row = await made(pool)

    def killed(*_: object) -> bytes:
        raise RuntimeError("killed")

    monkeypatch.setattr(sealed, "seal_secrets", killed)
    with pytest.raises(RuntimeError):
        await rekey(pool, KeyRing(Vault(OLD)), row.id)
    monkeypatch.undo()
    await assert_opens(pool, row, Vault(OLD))


async def test_the_master_key_is_exchanged_around_everything(pool: Pool, table: Table) -> None:
    row = await made(pool)
    await table.identities.create(Who(Kind.USER, "alice"))
    key = await table.keys.create("alice")
    keys: list[tuple[bytes, ...]] = [(OLD,)]
    running = EnvironmentStore(pool, vault := Vault(lambda: keys[0]))
    assert await running.secrets(row.id) == SECRETS
    keys[0] = (NEW, OLD)
    told: list[tuple[int, int]] = []
    assert await rewrap(pool, both(), lambda *counts: told.append(counts)) == []
    assert told == [(0, 2), (1, 2), (2, 2)]
    for opening in (Vault(NEW), both(), vault):
        await assert_opens(pool, row, opening)
        found = await TablePrincipals(pool, opening, ACCOUNT).resolve(key.id, None)
        assert found is not None
        assert found.secret == key.secret
    with pytest.raises(Permanent, match="master key"):
        await EnvironmentStore(pool, Vault(OLD)).secrets(row.id)
    with pytest.raises(Permanent, match="master key"):
        await TablePrincipals(pool, Vault(OLD), ACCOUNT).resolve(key.id, None)
    before = (await row_of(pool, row.id))["data_key"]
    assert await rewrap(pool, both(), lambda *_: None) == []
    assert (await row_of(pool, row.id))["data_key"] == before, "what is under the newest stays"


async def test_nothing_is_wrapped_under_the_old_master_key_behind_an_exchange(pool: Pool, table: Table) -> None:
    """A writer that has begun is waited for, and what it wrote is wrapped anew."""
    await table.identities.create(Who(Kind.USER, "alice"))
    async with transaction(pool) as connection:
        await wrapping(connection)
        exchange = asyncio.create_task(rewrap(pool, both(), lambda *_: None))
        await asyncio.sleep(0.3)
        assert not exchange.done()
        secret = Vault(OLD).seal(b"text", "access key AKIALATE")
        await connection.execute(
            "INSERT INTO access_keys (id, identity, secret)"
            " SELECT 'AKIALATE', id, %s FROM identities WHERE name = 'alice'",
            (secret,),
        )
    assert await exchange == []
    async with transaction(pool) as connection:
        row = await (await connection.execute("SELECT secret FROM access_keys WHERE id = 'AKIALATE'")).fetchone()
    assert row is not None
    assert Vault(NEW).open(bytes(row["secret"]), "access key AKIALATE") == b"text"


async def test_every_writer_says_that_it_wraps(pool: Pool, table: Table) -> None:
    """Else it could write under the old master key when nobody looks any more."""
    await table.identities.create(Who(Kind.USER, "alice"))
    row = environment("late", id_="b" * 12)
    async with transaction(pool) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(46100002)")
        writers = [
            asyncio.create_task(EnvironmentStore(pool, Vault(OLD)).insert(row, "127.83.9.9", SECRETS)),
            asyncio.create_task(AccessKeyStore(pool, Vault(OLD)).create("alice")),
        ]
        await asyncio.sleep(0.3)
        assert not any(writer.done() for writer in writers)
    await asyncio.gather(*writers)


async def test_what_was_damaged_before_is_named_and_left(pool: Pool) -> None:
    rows = [await made(pool, f"demo-{n}", n) for n in (1, 2)]
    await write(pool, rows[0].id, data_key=os.urandom(120))
    (line,) = await rewrap(pool, both(), lambda *_: None)
    assert rows[0].id in line
    await assert_opens(pool, rows[1], Vault(NEW))


class Kms:
    """A key service that wraps by saying so, and can be away or refuse."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: list[tuple[str, str]] = []

    async def generate(self, kms_key: str, environment: EnvironmentKey) -> tuple[bytes, bytes]:
        key = os.urandom(32)
        return key, b"kms" + key[::-1] + environment.arn.encode()

    async def decrypt(self, kms_key: str, wrapped: bytes, environment: EnvironmentKey) -> bytes:
        self.asked.append((kms_key, environment.arn))
        if self.error is not None:
            raise self.error
        assert wrapped[35:] == environment.arn.encode()
        return wrapped[3:35][::-1]


async def test_a_key_of_kms_is_needed_besides_the_master_key(pool: Pool) -> None:
    kms, clock = Kms(), [0.0]
    row = replace(environment(), desired={**OPTIONS, "KmsKey": KMS_KEY})
    await EnvironmentStore(pool, KeyRing(Vault(OLD), kms)).insert(row, "127.83.1.1", SECRETS)
    ring = KeyRing(Vault(OLD), kms, lambda: clock[0])
    store = EnvironmentStore(pool, ring)
    assert await store.secrets(row.id) == SECRETS
    assert await store.by_id(row.id) == row
    assert kms.asked == [(KMS_KEY, row.key.arn)], "kept open for a while"

    with pytest.raises(KeyUnusable, match=f"{row.key.arn} is sealed under {KMS_KEY}.*AWS_ENDPOINT_URL_KMS"):
        await EnvironmentStore(pool, Vault(OLD)).secrets(row.id)

    kms.error, clock[0] = Temporary("away"), 301.0
    assert await store.secrets(row.id) == SECRETS, "what is open stays open while KMS is away"
    with pytest.raises(Temporary):
        await EnvironmentStore(pool, KeyRing(Vault(OLD), kms)).secrets(row.id)

    kms.error, clock[0] = KeyUnusable("disabled"), 700.0
    for _ in range(2):
        with pytest.raises(KeyUnusable, match="disabled"):
            await store.secrets(row.id)
    assert [each.closed for each in await store.all()] == ["disabled"]
    kms.error = None
    assert await store.secrets(row.id) == SECRETS, "nothing was lost"

    before = (await row_of(pool, row.id))["data_key"]
    assert await rekey(pool, ring, row.id)
    assert (await row_of(pool, row.id))["data_key"] != before
    assert await store.secrets(row.id) == SECRETS
    kms.error = KeyUnusable("disabled")
    assert await rewrap(pool, both(), lambda *_: None) == [], "another master key needs no KMS"
    kms.error = None
    assert await EnvironmentStore(pool, KeyRing(Vault(NEW), kms)).secrets(row.id) == SECRETS

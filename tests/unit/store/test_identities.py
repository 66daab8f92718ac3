"""Our own table of identities, on a real PostgreSQL: IAM's rules, words and limits."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import sql

from aerodrome.domain.iam import ADMINISTRATOR, Kind, Who
from aerodrome.domain.policy import decide
from aerodrome.domain.principal import PrincipalReference
from aerodrome.errors import ApiError, Permanent, Temporary
from aerodrome.store import identities
from aerodrome.store.access_keys import AccessKeyStore
from aerodrome.store.callers import TablePrincipals
from aerodrome.store.database import Pool
from aerodrome.store.vault import Vault
from support.identities import ACCOUNT, Table, policy, trust

ALICE = Who(Kind.USER, "alice")
TEAM = Who(Kind.GROUP, "team")
ETL = Who(Kind.ROLE, "etl")
GET, LIST = "airflow:GetEnvironment", "airflow:ListEnvironments"
ANY = "arn:aws:airflow:eu-west-1:100000000001:environment/demo"


async def may(table: Table, key_id: str, action: str = GET, token: str | None = None) -> bool:
    found = await table.principals.resolve(key_id, token)
    if found is None or not found.active or found.principal is None:
        return False
    return decide(found.principal, action, ANY).allowed


async def refused(code: str, awaited: Any) -> str:
    with pytest.raises(ApiError) as caught:
        await awaited
    assert caught.value.code == code, caught.value
    return str(caught.value)


async def test_a_new_user_may_nothing(table: Table) -> None:
    made = await table.identities.create(ALICE, tags={"team": "data"})
    assert (made.kind, made.name, made.tags, made.keys) == (Kind.USER, "alice", {"team": "data"}, ())
    assert made.id.startswith("AIDA")
    key = await table.keys.create("alice")
    found = await table.principals.resolve(key.id, None)
    assert found is not None
    assert found.secret == key.secret
    assert found.active
    assert found.principal is not None
    assert found.principal.arn == f"arn:aws:iam::{ACCOUNT}:user/alice"
    assert found.principal.tags == {"team": "data"}
    assert not decide(found.principal, GET, ANY).allowed


@pytest.mark.parametrize("way", ["inline", "attached", "group inline", "group attached"])
async def test_every_way_that_a_permission_comes_and_goes(table: Table, way: str) -> None:
    await table.identities.create(ALICE)
    await table.identities.create(TEAM)
    await table.identities.add_to_group("alice", "team")
    key = await table.keys.create("alice")
    assert not await may(table, key.id)
    who = TEAM if way.startswith("group") else ALICE
    if way.endswith("inline"):
        await table.policies.put_inline(who, "p", policy(GET))
        assert await may(table, key.id)
        await table.policies.delete_inline(who, "p")
    else:
        await table.policies.create("readers", policy(GET))
        await table.policies.attach(who, "readers")
        assert await may(table, key.id)
        await table.policies.detach(who, "readers")
    assert not await may(table, key.id), "from the very next request on"


async def test_leaving_a_group_and_changing_a_policy_count_at_once(table: Table) -> None:
    await table.identities.create(ALICE)
    await table.identities.create(TEAM)
    await table.policies.create("readers", policy(GET))
    await table.policies.attach(TEAM, "readers")
    await table.identities.add_to_group("alice", "team")
    key = await table.keys.create("alice")
    assert await may(table, key.id)
    await table.policies.replace("readers", policy(LIST))
    assert not await may(table, key.id)
    await table.policies.replace("readers", policy(GET))
    assert await may(table, key.id)
    await table.identities.remove_from_group("alice", "team")
    assert not await may(table, key.id)
    await table.identities.add_to_group("alice", "team")
    await table.identities.delete(TEAM)
    assert not await may(table, key.id)


async def test_a_boundary_limits(table: Table) -> None:
    await table.identities.create(ALICE)
    await table.policies.put_inline(ALICE, "all", policy("*"))
    await table.policies.create("only-list", policy(LIST))
    key = await table.keys.create("alice")
    assert await may(table, key.id)
    await table.policies.set_boundary(ALICE, "only-list")
    assert (await table.identities.get(ALICE)).boundary == "only-list"
    assert not await may(table, key.id)
    assert await may(table, key.id, LIST)
    await refused("DeleteConflict", table.policies.delete("only-list"))
    await table.policies.set_boundary(ALICE, None)
    assert await may(table, key.id)
    await refused("ValidationError", table.policies.set_boundary(TEAM, "only-list"))


async def test_keys_end_at_once(table: Table) -> None:
    await table.identities.create(ALICE)
    key, other = await table.keys.create("alice"), await table.keys.create("alice")
    assert [each.id for each in await table.keys.listed("alice")] == [key.id, other.id]
    await refused("LimitExceeded", table.keys.create("alice"))
    await table.keys.set_active(key.id, active=False)
    found = await table.principals.resolve(key.id, None)
    assert found is not None
    assert not found.active
    await table.keys.set_active(key.id, active=True)
    found = await table.principals.resolve(key.id, None)
    assert found is not None
    assert found.active
    await table.keys.delete(key.id)
    assert await table.principals.resolve(key.id, None) is None
    assert await table.principals.resolve(other.id, None) is not None
    await table.identities.delete(ALICE)
    assert await table.principals.resolve(other.id, None) is None
    await refused("NoSuchEntity", table.keys.delete(other.id))
    await refused("NoSuchEntity", table.keys.set_active(other.id, active=True))


async def test_two_at_once_get_no_third_key(table: Table) -> None:
    await table.identities.create(ALICE)
    made = await asyncio.gather(*(table.keys.create("alice") for _ in range(6)), return_exceptions=True)
    assert sum(not isinstance(each, BaseException) for each in made) == 2
    assert len(await table.keys.listed("alice")) == 2


async def test_a_writer_that_hangs_holds_up_the_others_for_a_moment_only(
    table: Table, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "_HANGING", 300)

    async def hang() -> None:
        async with identities.changing(pool) as connection:
            await connection.execute("INSERT INTO identities (id, kind, name) VALUES ('AIDAHALF', 'user', 'half')")
            async with asyncio.timeout(60):
                await table.identities.create(ALICE)
            await connection.execute("SELECT 1")

    with pytest.raises(Temporary, match="undone"):
        await hang()
    assert [each.name for each in await table.identities.listed(Kind.USER)] == ["alice"]


async def test_who_waits_too_long_for_other_writers_is_told(
    table: Table, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "_WAITING", 100)
    async with identities.changing(pool):
        with pytest.raises(Temporary):
            await table.identities.create(ALICE)


async def test_strangers_and_tokens_that_are_not_theirs(table: Table) -> None:
    await table.identities.create(ALICE)
    key = await table.keys.create("alice")
    for key_id, token in (("AKIANOBODY0000000000", None), ("", None), (key.id, "token"), ("ASIANOBODY0000000000", "t")):
        assert await table.principals.resolve(key_id, token) is None


async def test_a_session_of_a_role(table: Table) -> None:
    made = await table.identities.create(ETL, trust=trust())
    await table.policies.put_inline(ETL, "p", policy("airflow:*"))
    end = datetime.now(UTC) + timedelta(hours=1)
    session = await table.keys.open_session(made.id, "night", None, end)
    found = await table.principals.resolve(session.access_key_id, session.session_token)
    assert found is not None
    assert found.principal is not None
    assert found.principal.arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/etl/night"
    assert found.principal.user_id == f"{made.id}:night"
    assert (found.expires_at, found.session_token) == (end, session.session_token)
    for token in (None, "", "wrong", session.session_token + "x"):
        assert await table.principals.resolve(session.access_key_id, token) is None
    limited = await table.keys.open_session(made.id, "night", [json.loads(policy(LIST))], end)
    assert await may(table, session.access_key_id, GET, session.session_token)
    assert not await may(table, limited.access_key_id, GET, limited.session_token)
    assert await may(table, limited.access_key_id, LIST, limited.session_token)
    await table.identities.delete(ETL)
    await table.identities.create(ETL, trust=trust())
    assert await table.principals.resolve(session.access_key_id, session.session_token) is None


async def test_expired_sessions_are_told_for_a_day_then_forgotten(table: Table) -> None:
    made = await table.identities.create(ETL, trust=trust())
    end = datetime.now(UTC) - timedelta(hours=1)
    session = await table.keys.open_session(made.id, "night", None, end)
    await table.keys.sweep(datetime.now(UTC))
    found = await table.principals.resolve(session.access_key_id, session.session_token)
    assert found is not None
    assert found.expires_at == end
    await table.keys.sweep(datetime.now(UTC) + timedelta(days=1))
    await table.identities.create(ALICE)  # any change
    assert await table.principals.resolve(session.access_key_id, session.session_token) is None


async def reference_of(table: Table, key_id: str, token: str | None = None) -> PrincipalReference:
    found = await table.principals.resolve(key_id, token)
    assert found is not None
    assert found.principal is not None
    assert found.principal.reference is not None
    stored = json.loads(json.dumps(found.principal.reference.to_json()))
    assert PrincipalReference.from_json(stored) == found.principal.reference, "it can be stored"
    return PrincipalReference.from_json(stored)


async def test_a_user_stands_while_its_key_does(table: Table) -> None:
    await table.identities.create(ALICE)
    key = await table.keys.create("alice")
    reference = await reference_of(table, key.id)
    standing = await table.principals.principal_of(reference)
    assert standing is not None
    assert not decide(standing, GET, ANY).allowed
    await table.policies.put_inline(ALICE, "p", policy(GET))
    standing = await table.principals.principal_of(reference)
    assert standing is not None
    assert decide(standing, GET, ANY).allowed, "as it is now"
    await table.keys.set_active(key.id, active=False)
    assert await table.principals.principal_of(reference) is None
    await table.keys.set_active(key.id, active=True)
    assert await table.principals.principal_of(reference) is not None
    await table.keys.delete(key.id)
    await table.keys.create("alice")
    assert await table.principals.principal_of(reference) is None


async def test_a_role_stands_until_it_is_gone(table: Table) -> None:
    made = await table.identities.create(ETL, trust=trust())
    await table.policies.put_inline(ETL, "p", policy("*"))
    limits = [json.loads(policy(LIST))]
    session = await table.keys.open_session(made.id, "n", limits, datetime.now(UTC) + timedelta(seconds=1))
    reference = await reference_of(table, session.access_key_id, session.session_token)
    standing = await table.principals.principal_of(reference)
    assert standing is not None
    assert not decide(standing, GET, ANY).allowed, "the session's policies go on limiting it"
    assert decide(standing, LIST, ANY).allowed
    await table.identities.delete(ETL)
    await table.identities.create(ETL, trust=trust())
    assert await table.principals.principal_of(reference) is None, "another role of that name"


async def test_names_are_iams(table: Table) -> None:
    for name in ("", "a b", "ä", "a/b", "x" * 65):
        await refused("ValidationError", table.identities.create(Who(Kind.USER, name)))
    await table.identities.create(Who(Kind.USER, "x" * 64))
    await table.identities.create(ALICE)
    assert "ALICE" in await refused("EntityAlreadyExists", table.identities.create(Who(Kind.USER, "ALICE")))
    await table.identities.create(Who(Kind.GROUP, "alice"))
    await table.policies.create("Readers", policy(GET))
    await refused("EntityAlreadyExists", table.policies.create("readers", policy(GET)))
    await table.policies.attach(ALICE, f"arn:aws:iam::{ACCOUNT}:policy/readers")
    assert (await table.identities.get(ALICE)).attached == ("Readers",)


async def test_what_is_not_there(table: Table) -> None:
    await table.identities.create(ALICE)
    for awaited in (
        table.identities.get(ETL),
        table.identities.delete(TEAM),
        table.identities.add_to_group("alice", "team"),
        table.identities.remove_from_group("bob", "team"),
        table.identities.set_trust("etl", trust()),
        table.identities.tag(TEAM, {"a": "b"}),
        table.policies.get("nothing"),
        table.policies.attach(ALICE, "nothing"),
        table.policies.detach(ALICE, "AdministratorAccess"),
        table.policies.delete_inline(ALICE, "nothing"),
        table.keys.create("bob"),
        table.keys.listed("bob"),
    ):
        assert "cannot be found" in await refused("NoSuchEntity", awaited)


async def test_limits_are_iams(table: Table) -> None:
    await table.identities.create(ALICE)
    long = json.dumps(
        {"Version": "2012-10-17", "Statement": json.loads(policy(*["airflow:Get" + "x" * 1900]))["Statement"]}
    )
    await table.policies.put_inline(ALICE, "one", long)
    assert "2048" in await refused("LimitExceeded", table.policies.put_inline(ALICE, "two", long))
    await table.policies.put_inline(ALICE, "one", long)
    assert list((await table.identities.get(ALICE)).inline) == ["one"], "what is refused changes nothing"
    await refused("LimitExceeded", table.policies.create("big", policy("airflow:" + "x" * 6144)))
    for number in range(10):
        await table.policies.create(f"p{number}", policy(GET))
        await table.policies.attach(ALICE, f"p{number}")
        await table.identities.create(Who(Kind.GROUP, f"g{number}"))
        await table.identities.add_to_group("alice", f"g{number}")
    await table.identities.create(TEAM)
    await refused("LimitExceeded", table.policies.attach(ALICE, "AdministratorAccess"))
    await refused("LimitExceeded", table.identities.add_to_group("alice", "team"))
    await table.policies.attach(ALICE, "p0")
    tags = {f"t{number}": "x" for number in range(50)}
    await table.identities.tag(ALICE, tags)
    await refused("LimitExceeded", table.identities.tag(ALICE, {"one": "more"}))
    await refused("ValidationError", table.identities.tag(ALICE, {"aws:x": "y"}))
    await table.identities.untag(ALICE, tags)
    assert (await table.identities.get(ALICE)).tags == {}


async def test_policies_are_checked_before_they_are_written(table: Table) -> None:
    await table.identities.create(ALICE)
    await refused("MalformedPolicyDocument", table.policies.create("bad", "{}"))
    await refused("MalformedPolicyDocument", table.policies.put_inline(ALICE, "bad", '{"Statement": 1}'))
    await refused("MalformedPolicyDocument", table.identities.create(ETL, trust=policy(GET)))
    await table.policies.create("good", policy(GET))
    await refused("MalformedPolicyDocument", table.policies.replace("good", "x"))
    await refused("ValidationError", table.policies.replace("AdministratorAccess", policy(GET)))
    await refused("ValidationError", table.policies.delete("AdministratorAccess"))
    assert [each.name for each in await table.policies.listed()] == ["AdministratorAccess", "good"]
    assert (await table.policies.get("good")).document == json.loads(policy(GET))


async def test_a_policy_goes_when_nobody_has_it(table: Table) -> None:
    await table.identities.create(ALICE)
    await table.policies.create("readers", policy(GET))
    await table.policies.attach(ALICE, "readers")
    assert await table.policies.users("readers") == ["user alice"]
    assert "detach it first" in await refused("DeleteConflict", table.policies.delete("readers"))
    await table.identities.delete(ALICE)
    await table.policies.delete("readers")
    assert (await table.policies.get("AdministratorAccess")).used == 0


async def test_the_administrator_is_always_there(table: Table) -> None:
    await table.keys.ensure_administrator(lambda: ("AKIAADMIN", "one"))
    await table.keys.ensure_administrator(lambda: ("AKIAADMIN", "one"))
    assert await may(table, "AKIAADMIN", "airflow:DeleteEnvironment")
    who = Who(Kind.USER, ADMINISTRATOR)
    await refused("DeleteConflict", table.identities.delete(who))
    await table.policies.create("nothing", policy("s3:GetObject"))
    await refused("ValidationError", table.policies.set_boundary(Who(Kind.USER, "Admin"), "nothing"))
    await table.policies.detach(who, "AdministratorAccess")
    assert not await may(table, "AKIAADMIN")
    await table.keys.set_active("AKIAADMIN", active=False)
    assert not await may(table, "AKIAADMIN")
    await table.keys.ensure_administrator(lambda: ("AKIAADMIN", "one"))
    assert await may(table, "AKIAADMIN")
    await table.keys.ensure_administrator(lambda: ("AKIANEXT", "two"))
    await table.keys.forget("AKIAADMIN")
    await table.keys.forget("AKIAADMIN")
    assert not await may(table, "AKIAADMIN")
    assert await may(table, "AKIANEXT")


async def test_a_dump_of_the_table_holds_no_secret(table: Table, pool: Pool) -> None:
    made = await table.identities.create(ETL, trust=trust())
    await table.identities.create(ALICE)
    key = await table.keys.create("alice")
    session = await table.keys.open_session(made.id, "n", None, datetime.now(UTC) + timedelta(hours=1))
    async with pool.connection() as connection:
        whole = ""
        for name in ("access_keys", "role_sessions", "identities"):
            rows = await connection.execute(sql.SQL("SELECT {0}::text AS row FROM {0}").format(sql.Identifier(name)))
            whole += "".join(row["row"] for row in await rows.fetchall())
    assert key.id in whole
    assert session.access_key_id in whole
    for secret in (key.secret, session.secret_access_key, session.session_token):
        for form in (secret, secret.encode().hex()):
            assert form not in whole
        assert secret not in repr(key)
        assert secret not in repr(session)


async def test_a_secret_opens_in_its_own_row_and_with_our_master_key_alone(table: Table, pool: Pool) -> None:
    await table.identities.create(ALICE)
    one, two = await table.keys.create("alice"), await table.keys.create("alice")
    with pytest.raises(Permanent, match="master key"):
        await TablePrincipals(pool, Vault(b"x" * 32), ACCOUNT).resolve(one.id, None)
    async with pool.connection() as connection:
        await connection.execute(
            "UPDATE access_keys SET secret = (SELECT secret FROM access_keys WHERE id = %s) WHERE id = %s",
            (one.id, two.id),
        )
    with pytest.raises(Permanent, match="master key"):
        await table.principals.resolve(two.id, None)


async def test_another_process_changes_and_we_know(table: Table, pool: Pool) -> None:
    """The command line writes; the control plane must not go on with what it remembers."""
    await table.identities.create(ALICE)
    key = await table.keys.create("alice")
    assert await table.principals.resolve(key.id, None) is not None
    first = await table.principals.resolve(key.id, None)
    assert await table.principals.resolve(key.id, None) is first, "remembered while nothing changes"
    await AccessKeyStore(pool, Vault(b"k" * 32)).delete(key.id)
    assert await table.principals.resolve(key.id, None) is None

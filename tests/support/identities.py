"""Our own table of identities, and documents for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from aerodrome.store.access_keys import AccessKeyStore
from aerodrome.store.callers import TablePrincipals
from aerodrome.store.database import Pool
from aerodrome.store.identities import IdentityStore
from aerodrome.store.policies import PolicyStore
from aerodrome.store.vault import Vault

ACCOUNT = "100000000001"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"


@dataclass
class Table:
    identities: IdentityStore
    policies: PolicyStore
    keys: AccessKeyStore
    principals: TablePrincipals


async def empty_table(pool: Pool) -> Table:
    async with pool.connection() as connection:
        await connection.execute("TRUNCATE identities CASCADE")
        await connection.execute("DELETE FROM policies WHERE NOT is_aws")
        await connection.execute("UPDATE identity_revision SET revision = revision + 1")
    vault = Vault(b"k" * 32)
    return Table(
        IdentityStore(pool), PolicyStore(pool), AccessKeyStore(pool, vault), TablePrincipals(pool, vault, ACCOUNT)
    )


def policy(*actions: str, resource: str = "*", effect: str = "Allow", **more: Any) -> str:
    statement = {"Effect": effect, "Action": list(actions), "Resource": resource, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def trust(principal: Any = None, **more: Any) -> str:
    statement = {"Effect": "Allow", "Principal": principal or {"AWS": ROOT}, "Action": "sts:AssumeRole", **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

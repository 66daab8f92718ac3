"""Our own table of identities, opened by the installation's owner: with the password and the master key of its home."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import make_conninfo

from aerodrome.errors import Temporary
from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation
from aerodrome.store.access_keys import AccessKeyStore
from aerodrome.store.database import DATABASE, migrate, open_pool
from aerodrome.store.identities import IdentityStore
from aerodrome.store.policies import PolicyStore
from aerodrome.vault import MasterKeyFiles, Vault


@dataclass(frozen=True, slots=True)
class Table:
    identities: IdentityStore
    policies: PolicyStore
    keys: AccessKeyStore


@asynccontextmanager
async def open_table(layout: Layout, installation: Installation) -> AsyncIterator[Table]:
    """The stores.

    Raises:
        Temporary: the database isn't up.
    """
    url = make_conninfo(f"{installation.postgres_url}/{DATABASE}", **installation.postgres_options)
    try:
        await migrate(url)
    except psycopg.OperationalError as error:
        raise Temporary(f"The database doesn't answer ({str(error).strip()}). Is it up? Run `aerodrome up`.") from error
    async with open_pool(url, size=2, read_soon=False) as pool:
        vault = Vault(MasterKeyFiles(layout))
        yield Table(IdentityStore(pool), PolicyStore(pool), AccessKeyStore(pool, vault))

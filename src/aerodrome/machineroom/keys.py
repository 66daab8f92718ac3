"""The master key, and how it is exchanged: by steps, each of which may be the last before a `kill -9`.

The next key is written beside the one there is; everything that the old one wrapped is wrapped under the next one; then
the next one takes the place of the old one in one rename. In between both are known, and either opens what it wrapped.
What was left half done is done by the next `up`, or the next exchange. The control plane runs on all the while.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psycopg
from psycopg.conninfo import make_conninfo

from aerodrome.errors import Permanent, Temporary
from aerodrome.files import sync_directory, write_file
from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation, load
from aerodrome.machineroom.installation import rewrap as rewrap_installation
from aerodrome.machineroom.lock import only_us
from aerodrome.machineroom.progress import Progress, timed
from aerodrome.sealed_files import rewrap as rewrap_files
from aerodrome.store.data_keys import KeyRing, KeyService
from aerodrome.store.database import DATABASE, Pool, migrate, open_pool, transaction
from aerodrome.store.rekeying import rekey, rekey_old, rewrap
from aerodrome.supervision import variables_rewrapped
from aerodrome.vault import KEY_BYTES, MasterKeyFiles, Vault

_EVERY = 100  # records between two words about how far it is


async def exchange_master(layout: Layout, progress: Progress) -> None:
    """Give the installation another master key.

    Raises:
        Permanent: there is no installation. Temporary: the database isn't up.
        OSError: the disk is full.
    """
    async with only_us(layout, "keys rotate", progress.notice), _database(layout, load(layout)) as pool:
        begin(layout)
        await _finish(layout, pool, progress)


async def finish_exchange(layout: Layout, installation: Installation, progress: Progress) -> None:
    """End one that was cut short. The caller holds the installation's lock; the database is up."""
    if layout.next_master_key.exists():
        async with _database(layout, installation) as pool:
            await _finish(layout, pool, progress)


async def exchange_data_keys(
    layout: Layout, names: Sequence[str] | None, progress: Progress, kms: KeyService | None = None
) -> int:
    """Give environments of these names, in whatever region, new data keys; None: all. How many got one.

    Raises:
        Permanent: there is none of a name; one doesn't open. Temporary: the database or KMS doesn't answer.
    """
    async with only_us(layout, "keys rotate", progress.notice), _database(layout, load(layout)) as pool:
        async with transaction(pool) as connection:
            rows = await connection.execute("SELECT id, name FROM environments ORDER BY name, id")
            found = [row for row in await rows.fetchall() if names is None or row["name"] in names]
        missing = sorted(set(names or ()) - {row["name"] for row in found})
        if missing:
            raise Permanent(f"There is no environment {', '.join(missing)}. `aerodrome env list` names all.")
        keys = KeyRing(Vault(MasterKeyFiles(layout)), kms)
        with timed(progress, "data keys"):
            for count, row in enumerate(found, 1):
                await rekey(pool, keys, row["id"])
                progress.said("data keys", f"{row['name']} ({count} of {len(found)})")
        return len(found)


def begin(layout: Layout) -> None:
    """Write the next key, unless an exchange that was cut short has done so."""
    if not layout.next_master_key.exists():
        write_file(layout.next_master_key, secrets.token_bytes(KEY_BYTES), 0o600)


async def _finish(layout: Layout, pool: Pool, progress: Progress) -> None:
    vault = Vault(MasterKeyFiles(layout))

    def told(count: int, of: int) -> None:
        if count == of or (count and count % _EVERY == 0):
            progress.said("master key", f"{count} of {of} records")

    with timed(progress, "master key"):
        await rekey_old(pool, KeyRing(vault))
        left = await rewrap(pool, vault, told)
        rewrap_installation(layout)
        rewrap_files(layout)
        with variables_rewrapped(layout):
            replace(layout)
    for line in left:
        progress.notice(f"Damaged before, and left as it is: {line}")


def replace(layout: Layout) -> None:
    """The next key is the master key from here on, and the old one is gone."""
    layout.next_master_key.replace(layout.master_key)
    sync_directory(layout.secrets)


@asynccontextmanager
async def _database(layout: Layout, installation: Installation) -> AsyncIterator[Pool]:
    url = make_conninfo(f"{installation.postgres_url}/{DATABASE}", **installation.postgres_options)
    try:
        await migrate(url)
    except psycopg.OperationalError as error:
        raise Temporary(f"The database doesn't answer ({str(error).strip()}). Is it up? Run `aerodrome up`.") from error
    async with open_pool(url, size=2, read_soon=False) as pool:
        yield pool

"""The installation's administrator: an IAM user of the embedded cloud and of our own table, with one generated key.

A key is exchanged in steps, each of which may be the last before a `kill -9`: the new key is written aside, made known,
recorded in the installation's file, and only then is the old one forgotten. At every moment the recorded key works;
what was left half done is done by the next `up`, or the next exchange.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from aerodrome import sealed_files
from aerodrome.aws.cloud import CloudSocket
from aerodrome.domain.iam import ADMINISTRATOR, LONG_TERM
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation, load, save
from aerodrome.machineroom.lock import only_us
from aerodrome.machineroom.table import open_table
from aerodrome.store.new_keys import new_id, new_secret


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One that is under way."""

    old: str
    new: str
    secret: str = field(repr=False)


async def ensure(layout: Layout, installation: Installation) -> None:
    """The administrator is an IAM user of the embedded cloud with the recorded key. Idempotent."""
    await CloudSocket(layout.cloud_socket).ensure_admin(
        ADMINISTRATOR, installation.admin_access_key, installation.admin_secret_key, installation.account
    )


async def exchange_key(layout: Layout, notice: Callable[[str], None]) -> Installation:
    """Give the administrator another key; the installation with it.

    Raises:
        Permanent: there is no installation. Temporary: the embedded cloud or the database isn't up.
    """
    async with only_us(layout, "iam rotate-administrator", notice):
        begun = _begun(layout)
        if begun is None:
            begun = _Exchange(load(layout).admin_access_key, new_id(LONG_TERM), new_secret())
            sealed_files.write(layout, sealed_files.ADMINISTRATOR, json.dumps(asdict(begun)).encode())
        return await _finish(layout, begun)


async def finish_exchange(layout: Layout) -> None:
    """End one that was cut short. The caller holds the installation's lock."""
    begun = _begun(layout)
    if begun is not None:
        await _finish(layout, begun)


def _begun(layout: Layout) -> _Exchange | None:
    file = sealed_files.path(layout, sealed_files.ADMINISTRATOR)
    try:
        text = sealed_files.read(layout, sealed_files.ADMINISTRATOR)
        return None if text is None else _Exchange(**json.loads(text))
    except (ValueError, TypeError, Permanent) as error:
        raise Permanent(
            f"{file} is damaged ({error}). Remove it: the key in {layout.installation_file} "
            "goes on working; then run `aerodrome iam rotate-administrator`."
        ) from error


async def _finish(layout: Layout, exchange: _Exchange) -> Installation:
    installation = load(layout)
    cloud = CloudSocket(layout.cloud_socket)
    async with open_table(layout, installation) as table:
        await cloud.ensure_admin(ADMINISTRATOR, exchange.new, exchange.secret, installation.account)
        await table.keys.ensure_administrator(lambda: (exchange.new, exchange.secret))
        installation = replace(installation, admin_access_key=exchange.new, admin_secret_key=exchange.secret)
        save(layout, installation)
        await cloud.forget_key(ADMINISTRATOR, exchange.old, installation.account)
        await table.keys.forget(exchange.old)
    sealed_files.path(layout, sealed_files.ADMINISTRATOR).unlink(missing_ok=True)
    return installation

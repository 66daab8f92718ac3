"""Who may call the MWAA API: IAM of the embedded cloud, or the installation's own table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from aerodrome.api.sts import Sts
from aerodrome.aws.cloud import CloudSocket
from aerodrome.identity import PrincipalSource
from aerodrome.layout import Layout
from aerodrome.machineroom.installation import Installation, load
from aerodrome.store.access_keys import AccessKeyStore
from aerodrome.store.callers import TablePrincipals
from aerodrome.store.database import Pool
from aerodrome.vault import Vault


async def callers(
    layout: Layout,
    installation: Installation,
    pool: Pool,
    vault: Vault,
    cloud: CloudSocket,
    now: Callable[[], datetime],
) -> tuple[PrincipalSource, Sts | None]:
    """Where principals come from, and the STS for their keys where the embedded cloud doesn't know them.

    In a table the administrator is put in place first.
    """
    if installation.identity != "table":
        return cloud, None
    keys, table = AccessKeyStore(pool, vault), TablePrincipals(pool, vault, installation.account)

    def administrator() -> tuple[str, str]:
        recorded = load(layout)  # another key may have taken the place of the one that we started with
        return recorded.admin_access_key, recorded.admin_secret_key

    await keys.ensure_administrator(administrator)
    return table, Sts(table, keys, now, installation.account)

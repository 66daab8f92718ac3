"""Giving an installation up: its state, its system users, its keys."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable

from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.machineroom import users
from aerodrome.machineroom.installation import id_of
from aerodrome.machineroom.lock import only_us
from aerodrome.supervision import daemon, leftovers
from aerodrome.supervision.files import Files


async def purge(layout: Layout, notice: Callable[[str], None]) -> None:
    """Remove everything that Aerodrome made, and nothing else that may lie in its home. Safe to run again.

    Raises:
        Permanent: there is no installation, or it still runs.
    """
    installation_id = await asyncio.to_thread(id_of, layout)
    async with only_us(layout, "purge", notice):
        left = bool(await asyncio.to_thread(leftovers, layout))
        if left or await asyncio.to_thread(daemon.is_held, Files.of(layout)):
            raise Permanent("The installation still runs. Run `aerodrome down` first (`--now` doesn't wait for tasks).")
        await asyncio.to_thread(_remove, layout, installation_id)


def _remove(layout: Layout, installation_id: str) -> None:
    for path in (
        layout.environments,
        layout.kept_logs,
        layout.runtimes,
        layout.postgres,
        layout.valkey,
        layout.cloud,
        layout.machine,
        layout.cache,
        layout.run,
        layout.log,
        layout.pki,
        layout.secrets,
    ):
        if path.exists():
            shutil.rmtree(path)
    if os.geteuid() == 0:
        for name in users.of_installation(installation_id):
            users.remove_user(name)
    # Last: it says whose users those were, should we be interrupted.
    layout.installation_file.unlink()
    (layout.home / "lock").unlink()
    if not any(layout.home.iterdir()):
        with contextlib.suppress(PermissionError):  # it was made for us in a directory that isn't ours
            layout.home.rmdir()

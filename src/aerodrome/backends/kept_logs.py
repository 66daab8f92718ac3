"""Logs that outlive their environment."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from aerodrome.backends import users
from aerodrome.domain.environment import EnvironmentKey
from aerodrome.errors import Temporary
from aerodrome.files import ensure_directory, sync_directory
from aerodrome.layout import Layout


class KeptLogs:
    """Where the logs of deleted environments lie: readable by us alone, until somebody removes them.

    `PARTITION.ACCOUNT.REGION.NAME.ID/tasks` and `…/components`: a later environment of the same name has another id.
    """

    def __init__(self, layout: Layout, installation_id: str, *, wanted: bool) -> None:
        self._layout = layout
        self._installation_id = installation_id
        self._wanted = wanted

    async def keep(self, environment_id: str, key: EnvironmentKey) -> bool:
        """Take the logs of an environment of which no component runs out of what is about to be removed.

        Idempotent. Returns whether any are kept: none when they aren't wanted, or when there never were any.

        Raises:
            Temporary: a process of the environment doesn't end, or its files can't be taken over.
        """
        return self._wanted and await asyncio.to_thread(self._move, environment_id, key)

    def _move(self, environment_id: str, key: EnvironmentKey) -> bool:
        users.end_processes(self._installation_id, environment_id)  # who still writes there could lead us astray
        name = f"{key.partition}.{key.account}.{key.region}.{key.name}.{environment_id}"
        kept = self._layout.kept_logs / name
        for source, place in (
            (self._layout.logs(environment_id), kept / "tasks"),
            (self._layout.component_logs(environment_id), kept / "components"),
        ):
            if source.is_dir() and any(source.iterdir()) and not place.exists():
                ensure_directory(self._layout.kept_logs)
                ensure_directory(kept)
                source.rename(place)
                sync_directory(kept)
        if not kept.is_dir():
            return False
        _take_over(kept)
        return True


def _take_over(kept: Path) -> None:
    """The environment's user goes, and its number is given to the next one, who must own no file here."""
    # Not os.walk, which recurses: a task can make more directories in each other than Python has stack for.
    command = ["chown", "-hR", f"{users.ourselves().name}:", "--", str(kept)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Temporary(f"{kept} can't be taken over: {done.stderr.strip()[-300:]}", 5)

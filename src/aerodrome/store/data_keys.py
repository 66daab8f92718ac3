"""The data key of each environment: made at its create, wrapped in its row, open in memory while it is used.

A key that AWS KMS wraps as well is asked for again every few minutes: that is how long an environment is readable after
its key was disabled. While KMS doesn't answer, what is open stays open.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from aerodrome.domain.environment import EnvironmentKey
from aerodrome.errors import Temporary
from aerodrome.vault import KEY_BYTES, DataKey, KeyUnusable, Seal, Vault

COLUMNS = "id, partition, account, region, name, data_key, kms_key"  # of the rows that `KeyRing.of` takes
_KMS_SECONDS = 300.0
_LOCK = 4610_0002


class KeyService(Protocol):
    """AWS KMS. What it wraps is bound to the environment."""

    async def generate(self, kms_key: str, environment: EnvironmentKey) -> tuple[bytes, bytes]:
        """A new data key of 32 bytes, and the same as the key of KMS wraps it.

        Raises:
            KeyUnusable: says what to do. Temporary: KMS doesn't answer.
        """
        ...

    async def decrypt(self, kms_key: str, wrapped: bytes, environment: EnvironmentKey) -> bytes:
        """As it was before it was wrapped. Raises as `generate`."""
        ...


@dataclass(frozen=True, slots=True)
class NewKey:
    """One that no row has yet. `wrapped`: by KMS, or not at all; the master key is to wrap it still."""

    key: DataKey
    wrapped: bytes
    kms_key: str | None


@dataclass(frozen=True, slots=True)
class _Open:
    wrapped: bytes  # as the row has it
    key: DataKey
    until: float  # by the monotonic clock


class KeyRing:
    """Makes and opens data keys. `kms` None: there is no KMS that wraps any."""

    def __init__(
        self, vault: Vault, kms: KeyService | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._vault = vault
        self._kms = kms
        self._clock = clock
        self._open: dict[str, _Open] = {}  # by environment

    async def new(self, environment: EnvironmentKey, kms_key: str | None) -> NewKey:
        """Raises as `KeyService.generate`."""
        if kms_key is None:
            key = os.urandom(KEY_BYTES)
            return NewKey(DataKey(key), key, None)
        key, wrapped = await self._service(kms_key, environment).generate(kms_key, environment)
        return NewKey(DataKey(key), wrapped, kms_key)

    async def wrapped(self, connection: AsyncConnection[DictRow], environment_id: str, new: NewKey) -> bytes:
        """What the row that this transaction writes gets as its `data_key`."""
        await wrapping(connection)
        return self._vault.seal(new.wrapped, _context(environment_id, new.kms_key))

    async def of(self, row: Mapping[str, Any]) -> Seal:
        """What opens and seals the members of a row of `COLUMNS`: its data key. The vault, if it is of an earlier
        release and has none.

        Raises:
            Permanent: it doesn't open with our master key. KeyUnusable: nor with the key of KMS that it names.
            Temporary: KMS doesn't answer, and the key isn't open.
        """
        if row["data_key"] is None:
            return self._vault
        wrapped = bytes(row["data_key"])
        known = self._open.get(row["id"])
        if known is not None and known.wrapped != wrapped:
            known = None
        if known is not None and self._clock() < known.until:
            return known.key
        key, until = await self._unwrapped(row, wrapped, known)
        self._open[row["id"]] = _Open(wrapped, key, until)
        return key

    def forget(self, environment_id: str) -> None:
        self._open.pop(environment_id, None)

    async def _unwrapped(self, row: Mapping[str, Any], wrapped: bytes, known: _Open | None) -> tuple[DataKey, float]:
        kms_key: str | None = row["kms_key"]
        inner = self._vault.open(wrapped, _context(row["id"], kms_key))
        if kms_key is None:
            return DataKey(inner), float("inf")
        environment = EnvironmentKey(row["partition"], row["account"], row["region"], row["name"])
        until = self._clock() + _KMS_SECONDS
        try:
            return DataKey(await self._service(kms_key, environment).decrypt(kms_key, inner, environment)), until
        except KeyUnusable:
            self.forget(row["id"])
            raise
        except Temporary:
            if known is None:
                raise
            return known.key, until

    def _service(self, kms_key: str, environment: EnvironmentKey) -> KeyService:
        if self._kms is None:
            raise KeyUnusable(
                f"The environment {environment.arn} is sealed under {kms_key}, and this installation has no AWS KMS: "
                "set AWS_ENDPOINT_URL_KMS and AERODROME_AWS_ACCESS_KEY_ID as they were, then run `aerodrome up`."
            )
        return self._kms


async def wrapping(connection: AsyncConnection[DictRow]) -> None:
    """Say that this transaction writes something that the master key wraps: the key isn't exchanged meanwhile."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (_LOCK,))


async def exchanging(connection: AsyncConnection[DictRow]) -> None:
    """Until this transaction ends nobody else writes anything that the master key wraps."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


def _context(environment_id: str, kms_key: str | None) -> str:
    return f"{environment_id}/data key" + (f"/{kms_key}" if kms_key else "")


def row_context(row: Mapping[str, Any]) -> str:
    """What the `data_key` of a row is sealed for."""
    return _context(row["id"], row["kms_key"])

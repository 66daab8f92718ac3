"""State on disk: sealed rows and small bodies in one SQLite file, large bodies as sealed files beside it.

SQLite gives what a set of files written by hand doesn't: one atomic, fsynced commit over everything that a group of
requests changed. It sees neither names nor values. A sealed summary of all rows is part of every commit, so that a
row that got lost is noticed at start.

`commit` runs in one writer thread; `read_blob` in the request loop.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .config import Refusal
from .rows import Row, RowKey, decode, encode
from .sealing import Sealer, WrongSeal

FORMAT = 1
SMALL = 64 * 1024  # bytes; a body up to this size rides in the commit, a larger one costs a file and its fsyncs
_SUMMARY = b"summary"
_DIGEST = 16


@dataclass(slots=True)
class Change:
    """What one commit writes: rows by key (None: gone), and bodies by name."""

    rows: dict[RowKey, Row | None] = field(default_factory=dict)
    blobs: dict[bytes, bytes] = field(default_factory=dict)


class Disk:
    """The state directory. Holds a lock on it for as long as it lives."""

    def __init__(self, directory: Path, sealer: Sealer) -> None:
        self._directory = directory
        self._bodies = directory / "bodies"
        self._file = directory / "state.db"
        self._marker = directory / "FORMAT"
        self._sealer = sealer
        self._digests: dict[bytes, int] = {}
        self._references: dict[bytes, tuple[bytes, ...]] = {}
        self._counts: Counter[bytes] = Counter()
        self._stored: set[bytes] = set()
        self._sum = 0
        self._pending_sum = 0
        self._reading = threading.Lock()
        self._prepare()
        self._writer = self._connect()
        self._reader = self._connect()

    def load(self) -> Mapping[RowKey, Any]:
        """Every row.

        Raises:
            Refusal: another key's, damaged, or of a newer format. Nothing is changed in that case.
        """
        try:
            rows = self._load_rows()
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error
        missing = [name for name in self._counts if name not in self._stored]
        if missing:
            raise self._damaged(f"{len(missing)} object bodies are missing")
        for name in self._stored - set(self._counts):  # a file whose commit never came
            self._remove_body(name)
        self._stored &= set(self._counts)
        return rows

    def read_blob(self, name: bytes) -> bytes:
        """Raises:
        WrongSeal: damaged since the start, or gone.
        """
        with self._reading:
            found = self._reader.execute("SELECT value FROM bodies WHERE id = ?", (name,)).fetchone()
        if found is not None:
            return self._sealer.open_large(found[0], b"body" + name)
        try:
            sealed = self._body_path(name).read_bytes()
        except OSError as error:
            raise WrongSeal from error
        return self._sealer.open_large(sealed, b"body" + name)

    def commit(self, change: Change) -> None:
        """Make the change durable: when this returns, it survives a power cut. Raises OSError or sqlite3.Error."""
        sealed = {self._sealer.name(repr(key).encode()): (key, row) for key, row in change.rows.items()}
        counts = self._counted(sealed)
        dead = [name for name in counts if not counts[name] + self._counts[name]]
        fresh = {name: body for name, body in change.blobs.items() if name not in self._stored and name not in dead}
        for name, body in fresh.items():
            if len(body) > SMALL:
                self._write_body(name, body)
        digests: dict[bytes, int | None] = {}
        writer = self._writer
        writer.execute("BEGIN IMMEDIATE")
        try:
            for row_id, (key, row) in sealed.items():
                if row is None:
                    writer.execute("DELETE FROM rows WHERE id = ?", (row_id,))
                    digests[row_id] = None
                else:
                    value = self._sealer.seal(encode((key, row.value, row.blobs)), b"row" + row_id)
                    writer.execute("INSERT OR REPLACE INTO rows VALUES (?, ?)", (row_id, value))
                    digests[row_id] = self._digest(row_id, value)
            for name, body in fresh.items():
                if len(body) <= SMALL:
                    value = b"".join(self._sealer.seal_large(body, b"body" + name))
                    writer.execute("INSERT OR REPLACE INTO bodies VALUES (?, ?)", (name, value))
            for name in dead:
                writer.execute("DELETE FROM bodies WHERE id = ?", (name,))
            self._write_summary(writer, digests)
            writer.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                writer.execute("ROLLBACK")
            raise
        self._apply(sealed, counts, digests)
        self._stored |= set(fresh)
        for name in dead:
            self._remove_body(name)
            self._stored.discard(name)
            del self._counts[name]

    def close(self) -> None:
        self._reader.close()
        self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._writer.close()
        os.close(self._lock)

    # -- opening ---------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        try:
            for directory in (self._directory, self._bodies, self._directory / "tmp"):
                directory.mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Refusal(f"another embedded cloud is using {self._directory}; stop it first") from None
        except OSError as error:
            raise Refusal(f"can't use the state directory {self._directory}: {error.strerror}") from error
        if self._marker.exists() and not (self._file.exists() and self._file.stat().st_size):
            raise self._damaged(f"{self._file.name} is missing or empty")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            if not self._marker.exists():
                connection.execute("CREATE TABLE IF NOT EXISTS rows (id BLOB PRIMARY KEY, value BLOB)")
                connection.execute("CREATE TABLE IF NOT EXISTS bodies (id BLOB PRIMARY KEY, value BLOB)")
                if connection.execute("SELECT 1 FROM rows WHERE id = ?", (_SUMMARY,)).fetchone() is None:
                    self._write_summary(connection, {})
                _sync_directory(self._directory)
                self._marker.write_text(f"{FORMAT}\n")
                _sync_directory(self._directory)
        except sqlite3.DatabaseError as error:
            connection.close()
            raise self._damaged(str(error)) from error
        return connection

    def _load_rows(self) -> dict[RowKey, Any]:
        found = self._writer.execute("SELECT value FROM rows WHERE id = ?", (_SUMMARY,)).fetchone()
        if found is None:
            raise self._damaged("its summary is missing")
        try:
            form, count, total = decode(self._sealer.open(found[0], _SUMMARY))
        except WrongSeal:
            raise Refusal(
                f"the key doesn't fit the state in {self._directory} (or the state is damaged); nothing was changed. "
                "Restore the key or the directory from a backup"
            ) from None
        if form > FORMAT:
            raise Refusal(f"{self._directory} was written by a newer version (format {form}); run that one")
        rows: dict[RowKey, Any] = {}
        for row_id, value in self._writer.execute("SELECT id, value FROM rows WHERE id != ?", (_SUMMARY,)):
            try:
                key, content, blobs = decode(self._sealer.open(value, b"row" + row_id))
            except (WrongSeal, pickle.UnpicklingError) as error:
                raise self._damaged("a row has been changed") from error
            rows[key] = decode(content)
            self._digests[row_id] = self._digest(row_id, value)
            self._references[row_id] = blobs
            self._counts.update(blobs)
        if len(rows) != count or self._total(self._digests.values()) != total:
            raise self._damaged("rows are missing")
        self._sum = total
        self._stored = {name for (name,) in self._writer.execute("SELECT id FROM bodies")} | self._files()
        return rows

    def _files(self) -> set[bytes]:
        names = set()
        for path in self._bodies.glob("*/*"):
            if path.suffix:
                path.unlink()  # a body whose write was cut short
            else:
                names.add(bytes.fromhex(path.name))
        return names

    def _damaged(self, how: str) -> Refusal:
        return Refusal(
            f"the state in {self._directory} is damaged: {how}. Nothing was changed. Restore the directory from a "
            "backup, or move it away to start with an empty cloud"
        )

    # -- the summary of all rows -----------------------------------------------------------------------------------

    def _digest(self, row_id: bytes, value: bytes) -> int:
        return int.from_bytes(self._sealer.name(row_id + value)[:_DIGEST], "big")

    @staticmethod
    def _total(digests: Iterable[int]) -> int:
        return sum(digests) & ((1 << (8 * _DIGEST)) - 1)

    def _write_summary(self, connection: sqlite3.Connection, changed: Mapping[bytes, int | None]) -> None:
        count, total = len(self._digests), self._sum
        for row_id, digest in changed.items():
            before = self._digests.get(row_id)
            count += (digest is not None) - (before is not None)
            total += (digest or 0) - (before or 0)
        self._pending_sum = self._total([total])
        value = self._sealer.seal(encode((FORMAT, count, self._pending_sum)), _SUMMARY)
        connection.execute("INSERT OR REPLACE INTO rows VALUES (?, ?)", (_SUMMARY, value))

    # -- references to bodies --------------------------------------------------------------------------------------

    def _counted(self, sealed: Mapping[bytes, tuple[RowKey, Row | None]]) -> Counter[bytes]:
        """How the number of references to each body changes."""
        counts: Counter[bytes] = Counter()
        for row_id, (_, row) in sealed.items():
            counts.update(row.blobs if row else ())
            counts.subtract(self._references.get(row_id, ()))
        return counts

    def _apply(
        self,
        sealed: Mapping[bytes, tuple[RowKey, Row | None]],
        counts: Counter[bytes],
        digests: Mapping[bytes, int | None],
    ) -> None:
        self._sum = self._pending_sum
        for row_id, (_, row) in sealed.items():
            digest = digests[row_id]
            if row is None or digest is None:
                self._digests.pop(row_id, None)
                self._references.pop(row_id, None)
            else:
                self._digests[row_id] = digest
                self._references[row_id] = row.blobs
        for name, change in counts.items():
            self._counts[name] += change

    # -- large bodies ----------------------------------------------------------------------------------------------

    def _body_path(self, name: bytes) -> Path:
        text = name.hex()
        return self._bodies / text[:2] / text

    def _write_body(self, name: bytes, body: bytes) -> None:
        path = self._body_path(name)
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700)
            _sync_directory(self._bodies)
        aside = path.with_suffix(".new")
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.writelines(self._sealer.seal_large(body, b"body" + name))
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
        _sync_directory(path.parent)

    def _remove_body(self, name: bytes) -> None:
        self._body_path(name).unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Secrets that are planted, and the search for them: whatever was written, however it was spelled."""

from __future__ import annotations

import base64
import gzip
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

_GZIP = b"\x1f\x8b"


def forms(secret: str) -> Iterator[bytes]:
    """As it is, quoted for a URL, in hexadecimal, and in base64 of a longer text at whatever place."""
    data = secret.encode()
    yield data
    for quoted in (quote(secret), quote(secret, safe="")):
        if quoted != secret:
            yield quoted.encode()
    yield data.hex().encode()
    yield data.hex().upper().encode()
    for before in range(3):
        padded = b"\0" * before + data
        whole = len(padded) // 3 * 4  # what follows depends on the text after it
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(padded)[(0, 2, 3)[before] : whole]


@dataclass(frozen=True, slots=True)
class Found:
    what: str
    where: str


@dataclass
class Search:
    """What to look for, by name, and where it was found."""

    secrets: dict[str, str] = field(default_factory=dict)
    found: set[Found] = field(default_factory=set)
    looked_at: int = 0  # bytes

    def plant(self, name: str) -> str:
        """A secret that there is nowhere else."""
        self.secrets[name] = f"{name}/{base64.b64encode(os.urandom(24)).decode()}"
        return self.secrets[name]

    def knows(self, name: str, secret: str) -> None:
        """One that somebody else made."""
        assert len(secret) >= 16, f"{name} is too short to be looked for"
        self.secrets[name] = secret

    def text(self, where: str, text: str) -> None:
        self.bytes(where, text.encode(errors="surrogateescape"))

    def bytes(self, where: str, data: bytes) -> None:
        self.looked_at += len(data)
        for name, secret in self.secrets.items():
            if any(form in data for form in forms(secret)):
                self.found.add(Found(name, where))
        if data.startswith(_GZIP):
            try:
                self.bytes(f"{where} (unpacked)", gzip.decompress(data))
            except (OSError, EOFError, zlib.error):
                return

    def files(self, folder: Path, since: float) -> None:
        """Every file below it that was written since then, in seconds since 1970."""
        for parent, _, names in os.walk(folder):
            for name in names:
                path = Path(parent, name)
                try:
                    if path.is_symlink() or not path.is_file() or path.stat().st_mtime < since - 2:
                        continue
                    data = path.read_bytes()
                except FileNotFoundError:
                    continue
                self.bytes(str(path.relative_to(folder)), data)

    def rows(self, server_url: str) -> None:
        """Every row of every database: files of PostgreSQL hold compressed values at times."""
        with psycopg.connect(f"{server_url}/postgres", autocommit=True) as connection:
            names = [str(row[0]) for row in connection.execute("SELECT datname FROM pg_database WHERE datallowconn")]
        for database in names:
            if not database.startswith("template"):
                with psycopg.connect(f"{server_url}/{database}", autocommit=True) as connection:
                    for schema, table in _tables(connection):
                        statement = sql.SQL("SELECT each::text FROM {} AS each").format(sql.Identifier(schema, table))
                        for (row,) in connection.execute(statement):
                            self.text(f"{database}: {table}", str(row))

    def processes(self, own: int | None) -> None:
        """Every process's command line, and its environment unless it is of the user `own`."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                uid, command = entry.stat().st_uid, (entry / "cmdline").read_bytes()
                self.bytes(f"/proc/{entry.name}/cmdline", command)
                if uid != own:
                    self.bytes(f"/proc/{entry.name}/environ", (entry / "environ").read_bytes())
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue


def _tables(connection: psycopg.Connection[tuple[object, ...]]) -> list[tuple[str, str]]:
    rows = connection.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    return [(str(schema), str(table)) for schema, table in rows.fetchall()]

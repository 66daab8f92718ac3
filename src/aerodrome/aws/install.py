"""Builds and configures the embedded cloud, and tells the machine room what to run.

A build is content-addressed (lock, Python, our shim), never changed once its marker is there, and made in place under
its final name, since virtual environments can't be moved; one without a marker was cut short and is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aerodrome import sealed_files
from aerodrome.aws.shim.config import KEY_VARIABLE
from aerodrome.errors import Permanent, Temporary
from aerodrome.layout import Layout

SHIM = Path(__file__).parent / "shim"
_COMPLETE = "complete"
_BUILD_SECONDS = 900
_NO_NETWORK = ("Network connectivity is disabled", "error sending request", "Failed to fetch", "dns error", "offline")


@dataclass(frozen=True, slots=True)
class CloudSpec:
    """What the machine room decides about the embedded cloud."""

    port: int
    account: str
    region: str
    allowed_uids: tuple[int, ...]  # who may use the private socket
    user: str | None = None  # the system user it becomes; None when we are an ordinary user
    log_level: str = "WARNING"


@dataclass(frozen=True, slots=True)
class Cloud:
    """An embedded cloud that is ready to be started."""

    argv: tuple[str, ...]
    variables: Mapping[str, str] = field(repr=False)  # the key that its state is sealed under
    health_url: str
    socket: Path


def ensure_cloud(
    layout: Layout,
    spec: CloudSpec,
    *,
    python: Path,
    uv: Path,
    lock: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> Cloud:
    """Build what isn't built, write key and configuration. Blocking, idempotent, safe to kill at any instant.

    `python` must be executable by `spec.user`, and so must every directory above `layout.machine`.

    Raises:
        Permanent: the lock can't be installed with this Python; the system user is missing; the key is lost.
        Temporary: no network and a cold cache.
    """
    build = _build_directory(layout, python, lock)
    if not (build / _COMPLETE).exists():
        progress("Installing the embedded cloud")
        _build(build, python=python, uv=uv, lock=lock, cache=layout.cache)
    owner = _owner(spec.user)
    _directories(layout, owner)
    key = _key(layout)
    configuration = layout.run / "cloud.json"
    _write_private(configuration, json.dumps(_configuration(layout, spec), indent=2).encode() + b"\n")
    return Cloud(
        argv=(str(build / "venv" / "bin" / "python"), "-I", str(build / "shim"), "--config", str(configuration)),
        variables={KEY_VARIABLE: key.hex()},
        health_url=f"http://127.0.0.1:{spec.port}/healthz",
        socket=layout.cloud_socket,
    )


def cloud_is_built(layout: Layout, *, python: Path, lock: Path) -> bool:
    """Whether `ensure_cloud` would find everything installed."""
    return (_build_directory(layout, python, lock) / _COMPLETE).exists()


def _build_directory(layout: Layout, python: Path, lock: Path) -> Path:
    digest = hashlib.sha256(lock.read_bytes())
    digest.update(str(python.resolve()).encode())
    for source in sorted(SHIM.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return layout.machine / f"cloud-{digest.hexdigest()[:16]}"


def _build(build: Path, *, python: Path, uv: Path, lock: Path, cache: Path) -> None:
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    for directory in (build, build.parent):
        directory.chmod(0o755)
    venv = build / "venv"
    _uv(uv, cache, "venv", "--python", str(python), "--no-project", "--offline", str(venv))
    sync = (
        "pip",
        "sync",
        "--compile-bytecode",
        "--require-hashes",
        "--python",
        str(venv / "bin" / "python"),
        str(lock),
    )
    try:
        _uv(uv, cache, *sync, "--offline")  # a warm cache needs no network, and is faster without
    except (Permanent, Temporary):
        _uv(uv, cache, *sync)
    shutil.copytree(SHIM, build / "shim", ignore=shutil.ignore_patterns("__pycache__"))
    _run((str(venv / "bin" / "python"), "-m", "compileall", "-q", str(build / "shim")))
    _sync_tree(build)
    (build / _COMPLETE).touch(mode=0o644)


def _uv(uv: Path, cache: Path, *arguments: str) -> None:
    """Registries, proxies and certificates are the user's settings: uv reads them from our environment itself."""
    _run((str(uv), "--cache-dir", str(cache), "--no-progress", "--no-python-downloads", *arguments))


def _run(argv: tuple[str, ...]) -> None:
    """Run to the end with umask 022: others must be able to read what it makes."""
    try:
        done = subprocess.run(
            argv,
            umask=0o022,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Temporary(
            f"{argv[0]} did not end within {_BUILD_SECONDS} s while installing the embedded cloud."
        ) from error
    except OSError as error:
        raise Permanent(f"Can't run {argv[0]} to install the embedded cloud: {error.strerror}.") from error
    if done.returncode:
        problem = done.stderr.strip()
        if any(sign in problem for sign in _NO_NETWORK):
            raise Temporary(
                "The embedded cloud can't be installed: the package registry is out of reach and the cache has not "
                f"got everything. Connect once, then run the command again. ({problem.splitlines()[-1].strip()})",
                retry_after=30,
            )
        raise Permanent("The embedded cloud can't be installed; see the details.", detail=problem[-2000:])


def _sync_tree(root: Path) -> None:
    """The marker must not outlive, in a power cut, what it vouches for."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.sync()
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _owner(user: str | None) -> tuple[int, int] | None:
    if user is None:
        return None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise Permanent(f"There is no system user {user} for the embedded cloud.") from None
    return entry.pw_uid, entry.pw_gid


def _directories(layout: Layout, owner: tuple[int, int] | None) -> None:
    layout.cloud.mkdir(parents=True, exist_ok=True)
    layout.cloud.chmod(0o700)
    if owner is not None:
        os.chown(layout.cloud, *owner)
    layout.run.mkdir(parents=True, exist_ok=True)
    if not layout.secrets.exists():
        layout.secrets.mkdir(mode=0o700, parents=True)


def _key(layout: Layout) -> bytes:
    """The key that the state is encrypted under. A new one beside existing state would hide that the old is lost."""
    file = sealed_files.path(layout, sealed_files.CLOUD)
    if not file.exists() and (layout.cloud / "FORMAT").exists():
        raise Permanent(
            f"The embedded cloud's key {file} is gone, and its state in {layout.cloud} can't be read without it. "
            "Restore the key from a backup, or move the state away to start with an empty cloud."
        )
    return sealed_files.keep(layout, sealed_files.CLOUD)


def _configuration(layout: Layout, spec: CloudSpec) -> dict[str, object]:
    return {
        "host": "127.0.0.1",
        "port": spec.port,
        "state_dir": str(layout.cloud),
        "socket": str(layout.cloud_socket),
        "allowed_uids": list(spec.allowed_uids),
        "account": spec.account,
        "region": spec.region,
        "user": spec.user,
        "log_level": spec.log_level,
    }


def _write_private(path: Path, content: bytes) -> None:
    """Write a 0600 file aside, make it durable, rename it into place."""
    aside = path.with_name(path.name + ".new")
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Puts the embedded cloud together: configuration, privileges, state, listeners; then serves until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import signal
import socket
from pathlib import Path
from typing import Any

from . import actions, connections, jail, partitions, pinned, tracking
from .config import Config, Refusal, drop_privileges, load, refuse, take_environment, take_key
from .control import Control
from .disk import Disk
from .gate import Gate
from .journal import Journal
from .principals import Principals
from .s3state import S3State, is_s3_row
from .sealing import Sealer
from .services import Services

log = logging.getLogger("aerodrome.cloud")

_SHUTDOWN_SECONDS = 5
_BACKLOG = 512


def main() -> None:
    parser = argparse.ArgumentParser(prog="aerodrome-cloud")
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        _run(load(arguments.config))
    except Refusal as refusal:
        refuse(str(refusal))


def _run(config: Config) -> None:
    os.umask(0o077)
    key = take_key()
    drop_privileges(config.user)
    os.chdir("/")
    take_environment(config)
    http, control = _listen(config), _listen_private(config)
    sealer = Sealer(key)
    disk = Disk(config.state_dir, sealer)
    rows = disk.load()
    stack = pinned.load()
    tracking.watch_stores(stack.scoped_types)
    services, s3 = Services(stack), S3State(stack, disk, sealer)
    services.restore({row: value for row, value in rows.items() if not is_s3_row(row)})
    s3.restore({row: value for row, value in rows.items() if is_s3_row(row)})
    del rows
    _switch_off(stack)
    partitions.serve_all(stack)
    actions.name_all(stack)
    jail.close()
    journal = Journal(disk, services, s3, tracking.Owners(stack.scoped_types, s3.stores))
    gate = Gate(stack, journal)
    private = Control(Principals(stack, config.region), journal, config.allowed_uids)
    asyncio.run(_serve(config, gate, journal, private, http, control))
    disk.close()
    config.socket.unlink(missing_ok=True)


def _listen(config: Config) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        raise Refusal(
            f"can't listen on {config.host}:{config.port}: {error.strerror}; stop what holds the port"
        ) from error
    listener.setblocking(False)
    return listener


def _listen_private(config: Config) -> socket.socket:
    """The listener of the private socket. One left over by a killed process is replaced, a live one is not."""
    path = str(config.socket)
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(path)
    except OSError:
        config.socket.unlink(missing_ok=True)
    else:
        raise Refusal(f"another embedded cloud answers at {path}; stop it first")
    finally:
        probe.close()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
    except OSError as error:
        raise Refusal(f"can't make the socket {path}: {error.strerror or error}") from error
    os.chmod(path, 0o600)
    return listener


def _switch_off(stack: pinned.Ministack) -> None:
    """What ministack does around its life that we don't want: scripts that it would find on the machine."""
    stack.app._run_init_scripts = lambda: None

    async def nothing() -> None:
        return

    stack.app._run_ready_scripts = nothing


async def _serve(
    config: Config, gate: Gate, journal: Journal, private: Control, http: socket.socket, control: socket.socket
) -> None:
    hypercorn: Any = importlib.import_module("hypercorn.config").Config()
    serve: Any = importlib.import_module("hypercorn.asyncio").serve
    hypercorn.bind = [f"fd://{http.fileno()}"]
    hypercorn.keep_alive_timeout = 75
    hypercorn.graceful_timeout = _SHUTDOWN_SECONDS
    hypercorn.shutdown_timeout = _SHUTDOWN_SECONDS
    hypercorn.loglevel = config.log_level
    hypercorn.accesslog = None
    hypercorn.backlog = _BACKLOG
    connections.guard()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    writing = asyncio.create_task(journal.run())
    sweeping = asyncio.create_task(journal.sweep())
    server = await private.serve(control)
    gate.ready = True
    try:
        await serve(gate, hypercorn, shutdown_trigger=stopping.wait)
    finally:
        gate.ready = False
        server.close()
        sweeping.cancel()
        await journal.close()
        await writing

"""`python attack_driver.py HOME UID on|off`: two environments in HOME, one attacks the other; prints what came of it.

Runs as the user UID from the moment that everything is prepared which only root can prepare; 0: as root.
"""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures.thread  # noqa: F401 - later nothing can be imported: the user can't enter every folder
import contextlib
import json
import os
import shutil
import socket
import sys
from pathlib import Path

from aerodrome.backends.local import LocalBackend
from aerodrome.domain.component import OPTIONS_KEY, Component, ComponentKind
from aerodrome.errors import Temporary
from aerodrome.files import write_file
from aerodrome.layout import Layout
from aerodrome.supervision import Supervisor, processes

ONE, TWO = "attacker", "neighbour"
ATTACKS = Path(__file__).with_name("attacks.py")


def component(name: str, *command: str, confined: bool) -> Component:
    return Component(
        name=name,
        slot=name,
        kind=ComponentKind.JOB,
        runtime="r1",
        command=command,
        confined=confined,
        variables={"MARK": "of-the-attacker" if name == "attack" else "of-the-neighbour"},
        secrets={OPTIONS_KEY: base64.urlsafe_b64encode(bytes(32)).decode()},
        unread={"AIRFLOW__CORE__FERNET_KEY": "s3cr3t"},
    )


def runtime(layout: Layout) -> Path:
    programs = layout.runtime("r1") / "bin"
    programs.mkdir(parents=True)
    (programs / "attack").write_text(f"#!/usr/bin/python3\n{ATTACKS.read_text()}")
    (programs / "waits").write_text("#!/bin/sh\nexec sleep 1000.25\n")
    for name in ("attack", "waits"):
        (programs / name).chmod(0o755)
    shutil.copyfile("/usr/bin/id", programs / "id")
    (programs / "id").chmod(0o4755)
    for folder in (layout.home, layout.runtimes, programs.parent, programs):
        folder.chmod(0o755)
    return programs


async def attack(layout: Layout, programs: Path, *, confined: bool) -> dict[str, str]:
    backend = LocalBackend(layout, Supervisor(layout, "unused"), "attacks")
    layout.secrets.mkdir(mode=0o700)
    write_file(layout.master_key, b"0" * 32)
    layout.run.mkdir(mode=0o711)
    theirs = component("wait", "waits", confined=confined)
    await asyncio.to_thread(backend._program, "neighbour.wait", TWO, theirs, with_ports=False)
    (layout.dags(TWO)).mkdir()
    write_file(layout.dags(TWO) / "dag.py", "theirs", 0o644)
    waiting = asyncio.create_task(backend.exec(TWO, theirs, timeout=60))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(layout.supervisor_socket))
        layout.supervisor_socket.chmod(0o600)
        listener.listen()
        pid = 0
        while not pid:
            await asyncio.sleep(0.05)
            pid = next((each.pid for each in processes.everybody() if _waits(each.pid)), 0)
        targets = {
            "its neighbour's fernet key": ("read", str(layout.options(TWO) / "wait.sealed")),
            "its neighbour's DAGs": ("read", str(layout.dags(TWO) / "dag.py")),
            "its neighbour's home": ("write", str(layout.airflow_home(TWO) / "planted")),
            "its neighbour's folder": ("find", str(layout.airflow_home(TWO))),
            "its neighbour's name": ("find", str(layout.environment(TWO))),
            "its neighbour's variables": ("environment", pid),
            "its neighbour's life": ("kill", pid),
            "its neighbour's arguments": ("spy", "1000.25"),
            "the master key": ("read", str(layout.master_key)),
            "the supervisor": ("talk", str(layout.supervisor_socket)),
            "a setuid program": ("rise", str(programs / "id")),
        }
        try:
            ours = component("attack", "attack", confined=confined)
            done = await backend.exec(ONE, ours, stdin=json.dumps(targets).encode())
            assert done.exit_code == 0, done
            found: dict[str, str] = json.loads(done.stdout)
        finally:
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError, Temporary):
                await waiting
            for environment in (ONE, TWO):
                await asyncio.to_thread(backend._forget, environment)
    return found


def _waits(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:2] == [b"sleep", b"1000.25"]
    except OSError:
        return False


def main(home: str, uid: int, *, confined: bool) -> None:
    layout = Layout(Path(home))
    programs = runtime(layout)
    if uid:
        os.chown(layout.home, uid, uid)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    print(json.dumps(asyncio.run(attack(layout, programs, confined=confined))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), confined=sys.argv[3] == "on")

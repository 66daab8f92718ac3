"""An installation driven through the command line as a person would, its control plane replaced by a stand-in."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aerodrome.layout import Layout
from aerodrome.machineroom.home import uv_program
from aerodrome.machineroom.installation import Installation, load
from aerodrome.machineroom.pythons import enterable_by_others, public_python

DRIVER = Path(__file__).with_name("drive_machineroom.py")
SOURCES = Path(__file__).parents[2] / "src"
REQUIREMENTS = SOURCES.parent / "requirements" / "product.txt"


@dataclass
class Person:
    """Somebody who types commands: root, ourselves, or an ordinary user made for the tests."""

    name: str
    uid: int
    gid: int
    python: Path

    @property
    def switch(self) -> dict[str, Any]:
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": ()}


@dataclass
class House:
    """One AERODROME_HOME and the commands on it."""

    person: Person
    home: Path
    driver: Path  # a copy that the person can read
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        return Layout(self.home)

    @property
    def installation(self) -> Installation:
        return load(self.layout)

    def environment(self) -> dict[str, str]:
        handed = ("UV_", "SSL_CERT_")
        ours = {name: value for name, value in os.environ.items() if name.startswith(handed) or "proxy" in name.lower()}
        return {**ours, "PATH": os.defpath, "AERODROME_HOME": str(self.home), **self.variables}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on; its output is read by the caller."""
        return subprocess.Popen(
            [str(self.person.python), str(self.driver), *arguments],
            env=self.environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **self.person.switch,
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        """A command to its end; its exit code is checked."""
        process = self.start(*arguments)
        try:
            output, _ = process.communicate(timeout=300)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        assert process.returncode == code, f"{arguments} ended with {process.returncode}:\n{output}"
        return output

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json"))
        return found

    def programs(self) -> dict[str, dict[str, Any]]:
        return {program["name"]: program for program in self.status()["programs"]}

    def supervisor_pid(self) -> int:
        return int((self.layout.run / "supervisord.pid").read_text())


def python_for_others(folder: Path) -> Path:
    """A virtual environment of the product whose interpreter, packages and sources every user can read."""
    base = public_python(["3.11", "3.12"])
    sources = SOURCES if enterable_by_others(SOURCES) else shutil.copytree(SOURCES, folder / "src")
    venv = folder / "venv"
    uv = [str(uv_program()), "--quiet"]
    subprocess.run([*uv, "venv", "--no-python-downloads", "--python", str(base), str(venv)], check=True, cwd="/")
    python = venv / "bin" / "python"
    sync = ["pip", "sync", "--require-hashes", "--python", str(python), str(REQUIREMENTS)]
    subprocess.run([*uv, *sync], check=True, cwd="/")
    next(venv.glob("lib/python*/site-packages")).joinpath("sources.pth").write_text(f"{sources}\n")
    return python


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def eventually(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def kill_and_wait(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(pid), f"the end of process {pid}")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that hangs for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


PUT = """
import asyncio, json, sys
from pathlib import Path
from aerodrome.layout import Layout
from aerodrome.supervision import Program, Supervisor
fields = json.loads(sys.argv[3])
program = Program(**{**fields, "argv": tuple(fields["argv"]), "log_path": Path(fields["log_path"])})
assert asyncio.run(Supervisor(Layout(Path(sys.argv[1])), sys.argv[2]).put(program))
"""


def put(house: House, **program: Any) -> None:
    """Have Supervisor run a program, as the person whose installation it is."""
    fields = json.dumps(program, default=str)
    argv = [str(house.person.python), "-c", PUT, str(house.home), house.installation.supervisor_password, fields]
    subprocess.run(argv, check=True, env=house.environment(), cwd="/", **house.person.switch)

"""What hostile code in one environment tries against its neighbour and against the installation.

Standard library alone, so that it runs as a plain program (targets as JSON on standard input) and within a task.
Each attack ends in a sentence on how it was refused, or in `SUCCEEDED`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

SUCCEEDED = "succeeded"


def read(path: str) -> str:
    with open(path, "rb") as file:
        file.read(1)
    return SUCCEEDED


def write(path: str) -> str:
    with open(path, "ab"):
        return SUCCEEDED


def find(wanted: str) -> str:
    """Whether the folder that it would lie in shows it."""
    folder, name = os.path.split(wanted)
    return SUCCEEDED if name in os.listdir(folder) else f"{name} isn't among {folder}'s"


def talk(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    return SUCCEEDED


def kill(pid: int) -> str:
    os.kill(pid, 0)  # asks for the same permission as any signal, and harms nobody when it is given
    # Within a namespace the number may be somebody's of our own: that is no foreign process.
    with open(f"/proc/{pid}/environ", "rb") as file:
        return "it is our own" if os.environ["MARK"].encode() in file.read() else SUCCEEDED


def spy(mark: str) -> str:
    """Whether a process that carries `mark` in its arguments is seen, whoever's it is."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    if mark.encode() in file.read():
                        return SUCCEEDED
            except OSError:
                continue
    return "no such process is seen"


def rise(program: str) -> str:
    """`program` is a copy of `id` that belongs to root and is setuid."""
    said = subprocess.run([program, "-u"], capture_output=True, text=True, check=True).stdout.strip()
    return f"it runs as {said}" if said == str(os.getuid()) and said != "0" else SUCCEEDED


ATTACKS: dict[str, Callable[[Any], str]] = {
    "read": read,
    "write": write,
    "find": find,
    "talk": talk,
    "kill": kill,
    "environment": lambda pid: read(f"/proc/{pid}/environ") if pid else "no pid",
    "spy": spy,
    "rise": rise,
}


def attempt(targets: dict[str, tuple[str, Any]]) -> dict[str, str]:
    """`targets`: what is attacked -> the attack and its argument."""
    found = {}
    for name, (attack, argument) in targets.items():
        try:
            found[name] = ATTACKS[attack](argument)
        except (OSError, subprocess.SubprocessError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


if __name__ == "__main__":
    print(json.dumps(attempt(json.load(sys.stdin))))

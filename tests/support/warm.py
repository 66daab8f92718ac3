"""Warm processes without Airflow, and what tests ask of their commands."""

from __future__ import annotations

import sys
from pathlib import Path

from aerodrome.supervision import Command
from support.supervised import read, until

PROGRAM = Path(__file__).with_name("warm_program.py")

# Tells its pid and its keeper's in the file that is its argument, then does nothing for ever.
HANGS = """
import os, time
with open(arguments[1], "w") as file:
    file.write(f"{os.getpid()} {os.getppid()}\\n")
time.sleep(1000)
"""
# Leaves a process behind that nothing but the keeper's care finds: in a session of its own, its parent dead.
LEAVES = """
import os, time
if not os.fork():
    os.setsid()
    if not os.fork():
        with open(arguments[1], "w") as file:
            file.write(f"{os.getpid()}\\n")
        time.sleep(1000)
    os._exit(0)
os.wait()
while not (os.path.exists(arguments[1]) and open(arguments[1]).read()):
    time.sleep(0.01)
"""


def command(folder: Path, **variables: str) -> Command:
    """Starts one in that folder."""
    return Command(argv=(sys.executable, "-P", str(PROGRAM)), directory=folder, environment=variables)


async def pids(path: Path, seconds: float = 10) -> list[int]:
    """What a command wrote there of itself, once it has."""
    await until(lambda: read(path).endswith("\n"), seconds)
    return [int(word) for word in read(path).split()]

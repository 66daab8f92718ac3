"""Run as a program, the launch script's helper: `opening.py HOME NAME COMMAND...`.

It opens the sealed variables of the program NAME and becomes COMMAND, which finds them at descriptor 3: in memory,
never in a file, an argument list or its own environment. A process of ours until COMMAND gives our rights up.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aerodrome.errors import AerodromeError, Permanent
from aerodrome.files import write_file
from aerodrome.layout import Layout
from aerodrome.vault import MasterKeyFiles, Vault

_DESCRIPTOR = 3
_PYTHONS_OWN = "LC_CTYPE"  # that Python sets for itself where no locale is set


def sealed(layout: Layout, name: str, variables: str) -> bytes:
    """What the file of the program's variables holds."""
    return Vault(MasterKeyFiles(layout)).seal(variables.encode(errors="surrogateescape"), _context(name))


def opened(layout: Layout, name: str, content: bytes) -> str:
    """Raises Permanent: it is torn, another program's, or of another installation."""
    return Vault(MasterKeyFiles(layout)).open(content, _context(name)).decode(errors="surrogateescape")


@contextmanager
def writing(layout: Layout, *, alone: bool = False) -> Iterator[None]:
    """While variables are sealed and written in the block, the master key isn't exchanged: who does that is `alone`."""
    descriptor = os.open(layout.run / "launch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def rewrapped(layout: Layout) -> Iterator[None]:
    """All variables lie under the newest master key while the block runs, and nobody writes others."""
    layout.run.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, exist_ok=True)
    with writing(layout, alone=True):
        vault = Vault(MasterKeyFiles(layout))
        for path in (layout.run / "launch").glob("*.env"):
            with suppress(Permanent):  # it is torn, or of an earlier release: it opens nothing either way
                again = vault.rewrapped(path.read_bytes(), _context(path.stem))
                if again is not None:
                    write_file(path, again)
        yield


def _context(name: str) -> str:
    return f"program {name}"


def main() -> None:
    home, name, *command = sys.argv[1:]
    layout = Layout(Path(home))
    try:
        variables = opened(layout, name, (layout.run / "launch" / f"{name}.env").read_bytes())
    except (AerodromeError, OSError) as error:
        sys.exit(f"aerodrome: the variables of {name} can't be read: {error}")
    memory = os.memfd_create(name)
    with open(memory, "wb", closefd=False) as file:
        file.write(variables.encode(errors="surrogateescape"))
    os.lseek(memory, 0, os.SEEK_SET)
    if memory == _DESCRIPTOR:
        os.set_inheritable(memory, True)
    else:
        os.dup2(memory, _DESCRIPTOR)
        os.close(memory)
    os.execve(command[0], command, {key: value for key, value in os.environ.items() if key != _PYTHONS_OWN})  # noqa: S606


if __name__ == "__main__":
    main()

"""What the process may not do, enforced by the interpreter itself: audit hooks can't be removed.

ministack has features that run code (Lambda, Glue jobs), talk to Docker, open listeners and call URLs that a caller
names. None of them is wanted here, and a caller's URL would reach services on this machine.
"""

from __future__ import annotations

import sys
from typing import Any

_PROCESSES = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn"}
)
_SOCKETS = frozenset({"socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"})


def close() -> None:
    """From here on: no child processes, no outgoing connections, no further listeners."""

    def hook(event: str, _arguments: Any) -> None:
        if event in _PROCESSES:
            raise PermissionError("the embedded cloud runs no other programs")
        if event in _SOCKETS:
            raise PermissionError("the embedded cloud opens no connections or listeners")

    sys.addaudithook(hook)

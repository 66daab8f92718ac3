"""The API server on two ports: its own, and one that it shares with the one it takes over from.

Tasks are told one address for as long as their worker lives, which may be hours longer than any one API server. So the
old and the new listen there side by side (SO_REUSEPORT): the kernel hands each connection to one of them, and either
answers tasks as well as the other. The gateway and health checks need a particular one: they use its own port.
"""

from __future__ import annotations

import os
import socket
from typing import Any

VARIABLE = "AERODROME_SHARED_PORT"


def install() -> None:
    """Make every uvicorn server of this process listen on `AERODROME_SHARED_PORT` too, if that is set."""
    port = os.environ.get(VARIABLE)
    if not port:
        return
    from uvicorn import Server

    run = Server.run

    def run_on_both(server: Any, sockets: list[socket.socket] | None = None) -> Any:
        host = server.config.host
        own = sockets or [listen(host, server.config.port, shared=False)]
        return run(server, [*own, listen(host, int(port), shared=True)])

    Server.run = run_on_both  # type: ignore[method-assign]


def listen(host: str, port: int, *, shared: bool) -> socket.socket:
    """A bound socket. `shared`: others of the same user may bind the same port, if they all say so."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound

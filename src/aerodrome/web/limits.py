"""What one client can hold on to before it has said who it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Times are seconds, sizes bytes."""

    handshake: float = 10.0  # to finish the TLS handshake
    head: float = 10.0  # to send a complete request head
    head_size: int = 64 * 1024
    keep_alive: int = 30  # an idle connection is closed after this
    send_idle: float = 300.0  # for a client that doesn't read its response
    linger: float = 5.0  # for a client that is still sending when it has its answer
    connections: int = 1000  # at once; then whoever has kept us waiting longest makes room for the next

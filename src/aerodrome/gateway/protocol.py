"""uvicorn's HTTP/1.1 protocol with a clock on the request head, so that slow clients can't hoard connections.

h11 is the parser: it refuses what others read leniently (two Hosts, folded headers, bare line feeds).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from aerodrome.gateway.ports import Limits


class GatewayProtocol(H11Protocol):
    """Closes a connection that doesn't complete a request head in `limits.head` seconds."""

    limits = Limits()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.access_log = False  # ours leaves queries out
        self._clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_clock()

    def data_received(self, data: bytes) -> None:
        if self._is_idle() and self._clock is None:
            self._start_clock()
        super().data_received(data)
        if not self._is_idle():
            self._stop_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing to warn of: the application answers."""

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _start_clock(self) -> None:
        self._clock = self.loop.call_later(self.limits.head, self._too_slow)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _too_slow(self) -> None:
        self._clock = None
        if self._is_idle() and not self.transport.is_closing():
            self.transport.abort()


def protocol_class(limits: Limits) -> type[GatewayProtocol]:
    """The protocol with these limits (uvicorn makes instances itself, from a class)."""
    return type("GatewayProtocol", (GatewayProtocol,), {"limits": limits})

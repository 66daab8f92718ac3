"""The gateway's listeners: one per bound address, all in front of the same application."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable

from starlette.types import ASGIApp

from aerodrome.errors import Temporary
from aerodrome.gateway.ports import Limits
from aerodrome.web.crowd import Crowd
from aerodrome.web.listener import Listener

log = logging.getLogger("aerodrome.gateway")


class Listeners:
    """All listeners of one side of the gateway, by address; `ensure` and `remove` may be repeated."""

    def __init__(self, app: ASGIApp, port: int, limits: Limits, crowd: Crowd) -> None:
        self._app = app
        self._port = port
        self._limits = limits
        self._crowd = crowd
        self._by_address: dict[str, Listener] = {}

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(self._by_address)

    def port(self, address: str) -> int:
        """The port that is bound at the address (it differs from the wanted one when that is 0)."""
        return self._by_address[address].port

    async def ensure(self, address: str, context: ssl.SSLContext, admits: Callable[[str], bool] | None = None) -> None:
        """Listen on the address. Whom `admits` refuses, by their address, are closed before TLS begins.

        Raises:
            Temporary: the address can't be bound now.
        """
        if address in self._by_address:
            return
        bound = _bind(address, self._port)
        listener = Listener(self._app, bound, self._limits, self._crowd, tls=context, admits=admits)
        listener.start()
        self._by_address[address] = listener
        log.info("listening on %s:%d", address, listener.port)

    async def remove(self, address: str, grace: float) -> None:
        """Stop listening on the address; absent is success."""
        listener = self._by_address.pop(address, None)
        if listener:
            port = listener.port
            await listener.stop(grace)
            log.info("no longer listening on %s:%d", address, port)

    async def stop(self, grace: float) -> None:
        await asyncio.gather(*(self.remove(address, grace) for address in self.addresses))


def _bind(address: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
    except OSError as error:
        bound.close()
        raise Temporary(
            f"The gateway can't listen on {address}:{port}: {os.strerror(error.errno or 0)}. "
            "Stop what uses the port, or choose another one with AERODROME_GATEWAY_PORT or "
            "AERODROME_PRIVATE_GATEWAY_PORT.",
            retry_after=5.0,
        ) from error
    return bound

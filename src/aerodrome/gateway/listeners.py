"""Listening sockets: one per bound address, all in front of the same application, opened and closed at run time.

uvicorn's protocol and configuration without its `Server`: that wakes ten times a second per listener, handles
signals, and leaves TLS handshakes a minute.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from aerodrome.errors import Temporary
from aerodrome.gateway.ports import Limits
from aerodrome.gateway.protocol import GatewayProtocol, protocol_class

log = logging.getLogger("aerodrome.gateway")

_BACKLOG = 512


class Listener:
    """One address and port. Started once, stopped once."""

    def __init__(self, app: ASGIApp, address: str, port: int, context: ssl.SSLContext, limits: Limits) -> None:
        self.address = address
        self.port = port
        self._context = context
        self._limits = limits
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._protocol = protocol_class(limits)
        self._config = Config(
            app,
            http=self._protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,  # uvicorn would believe X-Forwarded-For of any local client
            server_header=False,
            date_header=False,
            timeout_keep_alive=limits.keep_alive,
            limit_concurrency=limits.connections,
            h11_max_incomplete_event_size=limits.head_size,
        )
        self._config.load()

    @property
    def connections(self) -> int:
        return len(self._state.connections)

    async def start(self) -> None:
        """Bind and listen; `port` 0 becomes the chosen one.

        Raises:
            Temporary: the address can't be bound now.
        """
        bound = self._bind()
        self.port = bound.getsockname()[1]
        self._server = await asyncio.get_running_loop().create_server(
            self._make_protocol,
            sock=bound,
            ssl=self._context,
            backlog=_BACKLOG,
            ssl_handshake_timeout=self._limits.handshake,
            ssl_shutdown_timeout=2.0,
        )

    async def stop(self, grace: float) -> None:
        """Take no more connections, let responses end for `grace` seconds, then cut what is left."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=grace)
        for task in list(self._state.tasks):
            task.cancel()
        for connection in list(self._state.connections):
            connection.transport.abort()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=1.0)
        await self._server.wait_closed()
        self._server = None

    def _make_protocol(self) -> GatewayProtocol:
        return self._protocol(self._config, self._state, {}, asyncio.get_running_loop())

    def _bind(self) -> socket.socket:
        # The protocol by name: asyncio sets TCP_NODELAY on no other, and every answer would wait 40 ms for an ACK.
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setblocking(False)
            bound.bind((self.address, self.port))
        except OSError as error:
            bound.close()
            raise Temporary(
                f"The gateway can't listen on {self.address}:{self.port}: {os.strerror(error.errno or 0)}. "
                "Stop what uses the port, or choose another one with AERODROME_GATEWAY_PORT.",
                retry_after=5.0,
            ) from error
        return bound


class Listeners:
    """All listeners of the gateway, by address; `ensure` and `remove` may be repeated."""

    def __init__(self, app: ASGIApp, port: int, limits: Limits) -> None:
        self._app = app
        self._port = port
        self._limits = limits
        self._by_address: dict[str, Listener] = {}

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(self._by_address)

    def port(self, address: str) -> int:
        """The port that is bound at the address (it differs from the wanted one when that is 0)."""
        return self._by_address[address].port

    async def ensure(self, address: str, context: ssl.SSLContext) -> None:
        """Listen on the address.

        Raises:
            Temporary: the address can't be bound now.
        """
        if address in self._by_address:
            return
        listener = Listener(self._app, address, self._port, context, self._limits)
        await listener.start()
        self._by_address[address] = listener
        log.info("listening on %s:%d", address, listener.port)

    async def remove(self, address: str, grace: float) -> None:
        """Stop listening on the address; absent is success."""
        listener = self._by_address.pop(address, None)
        if listener:
            await listener.stop(grace)
            log.info("no longer listening on %s:%d", address, listener.port)

    async def stop(self, grace: float) -> None:
        await asyncio.gather(*(self.remove(address, grace) for address in self.addresses))

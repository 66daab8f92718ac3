"""A listening socket in front of an application, opened and closed at run time.

uvicorn's protocol and configuration without its `Server`: that wakes ten times a second per listener, handles
signals, leaves TLS handshakes a minute, and takes connections until no file descriptor is left for anything else.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from functools import partial

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from aerodrome.web.crowd import Crowd
from aerodrome.web.limits import ConnectionLimits
from aerodrome.web.protocol import Fast, Guarded, Strict

log = logging.getLogger(__name__)

_BACKLOG = 512
_AT_ONCE = 64  # connections taken before others get their turn
_BREATH = 0.5  # seconds without new connections when the system has no more
_SHUTDOWN = 2.0  # seconds to say goodbye in TLS


class Listener:
    """One bound socket, which is ours from here on. Started once, stopped once."""

    def __init__(
        self,
        app: ASGIApp,
        bound: socket.socket,
        limits: ConnectionLimits,
        crowd: Crowd,
        *,
        tls: ssl.SSLContext | None = None,
        protocol: type[Strict] | type[Fast] = Strict,
        admits: Callable[[str], bool] | None = None,
    ) -> None:
        """`admits`: whether to talk to a client at all, by its address."""
        self._socket = bound
        self._limits = limits
        self._crowd = crowd
        self._tls = tls
        self._protocol = protocol
        self._admits = admits
        self._state = ServerState()
        self._arriving: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._config = Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,  # uvicorn would believe X-Forwarded-For of any local client
            server_header=False,
            date_header=False,
            timeout_keep_alive=limits.keep_alive,
            h11_max_incomplete_event_size=limits.head_size,
        )
        self._config.load()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    @property
    def connections(self) -> int:
        return len(self._state.connections)

    def start(self) -> None:
        """Listen, on the running event loop."""
        self._socket.setblocking(False)
        self._socket.listen(_BACKLOG)
        self._resume()

    async def stop(self, grace: float) -> None:
        """Take no more connections, let responses end for `grace` seconds, then cut what is left."""
        if self._pause is not None:
            self._pause.cancel()
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        for task in list(self._arriving):
            task.cancel()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=grace)
        for task in list(self._state.tasks):
            task.cancel()
        left = [*self._state.tasks, *self._arriving]
        if left:
            await asyncio.wait(left, timeout=1.0)  # before their connections are gone: some still want to answer
        for connection in list(self._state.connections):
            connection.transport.abort()

    def _resume(self) -> None:
        self._pause = None
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, peer = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor, no memory: who says nothing gives theirs back
                self._crowd.make_room()
                log.warning("can't take connections for a moment: %s", error)
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._socket.fileno())
                self._pause = loop.call_later(_BREATH, self._resume)
                return
            if self._admits is None or self._admits(peer[0]):
                self._welcome(accepted)
            else:
                accepted.close()

    def _welcome(self, accepted: socket.socket) -> None:
        guest = self._protocol(self._config, self._state, self._limits, self._crowd)
        if not self._crowd.admit(guest):
            accepted.close()
            return
        accepted.setblocking(False)
        # asyncio sets it on some sockets and not on others, and every answer would wait 40 ms for an ACK.
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        guest.arrival = asyncio.get_running_loop().create_task(self._arrive(accepted, guest))
        self._arriving.add(guest.arrival)
        guest.arrival.add_done_callback(partial(self._arrived, guest))

    async def _arrive(self, accepted: socket.socket, guest: Guarded) -> None:
        loop = asyncio.get_running_loop()
        if self._tls is None:
            await loop.connect_accepted_socket(lambda: guest, accepted)
        else:
            await loop.connect_accepted_socket(
                lambda: guest,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self._limits.handshake,
                ssl_shutdown_timeout=_SHUTDOWN,
            )

    def _arrived(self, guest: Guarded, task: asyncio.Task[None]) -> None:
        self._arriving.discard(task)
        guest.arrival = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.debug("no handshake: %s", error or type(error).__name__)
        if guest.transport is None:
            self._crowd.leave(guest)

"""uvicorn's HTTP/1.1 protocols with a clock on whatever the client owes us, so that slow clients can't hoard.

Two parsers: h11 refuses what others read leniently (two Hosts, folded headers, bare line feeds); httptools is fast.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from aerodrome.web.crowd import Crowd
from aerodrome.web.limits import ConnectionLimits

_PROGRESS = 64 * 1024  # bytes of a body that count as getting on with it


class Guarded(asyncio.Protocol):
    """Closes a connection that doesn't complete a request head, or doesn't read its answer, in time.

    Bodies are the application's to time: it alone knows whether slow and long is wrong.
    """

    loop: Any
    cycle: Any
    flow: Any
    transport: Any
    access_log: bool

    def __init__(self, config: Config, state: ServerState, limits: ConnectionLimits, crowd: Crowd) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())  # type: ignore[call-arg]  # uvicorn's
        self.access_log = False  # ours leaves queries out
        self.arrival: asyncio.Task[None] | None = None  # while the TLS handshake lasts
        self._limits = limits
        self._crowd = crowd
        self._head_clock: asyncio.TimerHandle | None = None
        self._send_clock: asyncio.TimerHandle | None = None
        self._last_clock: asyncio.TimerHandle | None = None  # runs once an answer went out before its request had come
        self._silent_since: float = time.monotonic()
        self._unread_since = 0.0
        self._body = 0  # bytes since its last progress

    @property
    def _is_answered(self) -> bool:
        """Whether whatever still comes is dropped."""
        return self._last_clock is not None

    @property
    def waiting_since(self) -> float | None:
        if self.transport is None or self._is_idle():
            return self._silent_since
        if self.flow.write_paused:
            return self._unread_since
        return self._silent_since if self.cycle.more_body and not self.flow.read_paused else None

    def cut(self) -> None:
        if self.transport is not None:
            self.transport.abort()
        elif self.arrival is not None:
            self.arrival.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.app_state = {"tls": tls}  # of every scope: which name the client asked for is known by it
        self._start_head_clock()

    def data_received(self, data: bytes) -> None:
        if self._is_answered:
            return
        idle = self._is_idle()
        super().data_received(data)
        self._body += len(data)
        if self._is_idle():
            if self._head_clock is None:  # a head of which more is to come
                self._start_head_clock()
        elif idle or self._body > _PROGRESS:
            self._silent_since, self._body = time.monotonic(), 0
            self._stop_head_clock()

    def on_response_complete(self) -> None:
        self._silent_since = time.monotonic()
        super().on_response_complete()  # type: ignore[misc]  # uvicorn's

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_since = time.monotonic()
        self._send_clock = self.loop.call_later(self._limits.send_idle, self.cut)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_send_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_clock()
        self._stop_send_clock()
        if self._last_clock is not None:
            self._last_clock.cancel()
        self._crowd.leave(self)
        self._unset_keepalive_if_required()  # type: ignore[attr-defined]  # uvicorn's
        super().connection_lost(exc)

    def close(self) -> None:
        """After an answer. A client that is still sending would get a reset and might never read it: we hear it out.

        For a while: RFC 9112, section 9.6.
        """
        if self.transport.is_closing() or not self.cycle.more_body:
            self.transport.close()
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._last_clock = self.loop.call_later(self._limits.linger, self.cut)

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing to warn of: the application answers."""

    def _is_idle(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _start_head_clock(self) -> None:
        self._head_clock = self.loop.call_later(self._limits.head, self._too_slow)

    def _stop_head_clock(self) -> None:
        if self._head_clock is not None:
            self._head_clock.cancel()
            self._head_clock = None

    def _stop_send_clock(self) -> None:
        if self._send_clock is not None:
            self._send_clock.cancel()
            self._send_clock = None

    def _too_slow(self) -> None:
        self._head_clock = None
        if self._is_idle() and not self.transport.is_closing():
            self.transport.abort()


class _Joined:
    """A transport, as a cycle of uvicorn's uses it, on which an answer's head waits for the first part of its body.

    One system call instead of two, and the client wakes up once. A head that no body follows at once goes by itself.
    """

    __slots__ = ("_guest", "_head", "_is_first", "_transport")

    def __init__(self, guest: Guarded) -> None:
        self._guest = guest
        self._transport: asyncio.Transport = guest.transport
        self._head = b""
        self._is_first = True

    def write(self, data: bytes) -> None:
        if self._is_first:
            self._is_first, self._head = False, data
            self._guest.loop.call_soon(self._flush)
        elif self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._guest.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str) -> Any:
        return self._transport.get_extra_info(name)

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)


class Strict(Guarded, H11Protocol):
    """For whatever is passed on to a server that might read it differently. h11 limits the head's size itself."""

    def handle_events(self) -> None:
        earlier = self.cycle
        super().handle_events()
        if self.cycle is not earlier:  # its task begins at the loop's next turn
            self.cycle.transport = _Joined(self)


class Fast(Guarded, HttpToolsProtocol):
    """For requests whose signatures cover what matters. Its parser takes heads of any size: we don't."""

    def __init__(self, config: Config, state: ServerState, limits: ConnectionLimits, crowd: Crowd) -> None:
        super().__init__(config, state, limits, crowd)
        self._head = 0  # bytes since the head began, those that came with its first ones left out

    def data_received(self, data: bytes) -> None:
        if self._is_answered:
            return
        self._head += len(data)
        super().data_received(data)
        if self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete:
            self._head = 0
        elif self._head > self._limits.head_size:
            self.cut()

    def on_message_begin(self) -> None:
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.cycle.transport = _Joined(self)

    def on_body(self, body: bytes) -> None:
        self._head -= len(body)  # also when it belongs to a request that has been answered already
        super().on_body(body)

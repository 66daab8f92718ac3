"""One command in a fork of a warm process, from our end; `aerodrome_airflow.forks` is at the other."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from aerodrome.supervision.once import CHUNK, Kept

_BEGUN = "begun\n"
_ENDED = re.compile(r"^ended (\d{1,3})$", re.MULTILINE | re.ASCII)
_END = 10.0  # seconds for a command, and all that it started, to be killed
_LONGEST = 100  # bytes that a keeper has to say


@dataclass(slots=True)
class Fork:
    """The channel to the command's keeper, which ends the command once we close it, and what the command prints."""

    channel: socket.socket
    stdout: int  # descriptors that don't block
    stderr: int
    told: str = ""

    @property
    def has_begun(self) -> bool:
        return self.told.startswith(_BEGUN)

    async def begin(self, order: bytes, patience: float) -> bool:
        """Hand the order over; whether the command has begun within `patience` seconds."""
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(patience):
                await asyncio.get_running_loop().sock_sendall(self.channel, order)
                while not self.has_begun and await self._hear():
                    continue
        return self.has_begun

    async def code(self) -> int | None:
        """Wait for the end: the exit code, or None when the keeper was killed, and the command with it."""
        while await self._hear():
            continue
        found = _ENDED.search(self.told)  # said by the environment's user: to be read with care
        return int(found[1]) if found else None

    async def read(self, out: Kept, err: Kept) -> None:
        """What the command prints, until all that could print have ended."""
        await asyncio.gather(_read(self.stdout, out), _read(self.stderr, err))

    async def stop(self) -> bool:
        """Have the command and all it started ended. False: that takes too long."""
        with suppress(OSError):
            self.channel.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(_END):
                await self.code()
        except TimeoutError:
            return False
        return True

    async def _hear(self) -> bool:
        """Whether there was something to hear; False at the end."""
        try:
            piece = await asyncio.get_running_loop().sock_recv(self.channel, _LONGEST)
        except ConnectionError:
            return False
        self.told += piece.decode(errors="replace")
        return bool(piece) and len(self.told) < _LONGEST


@contextmanager
def ordered(control: socket.socket) -> Iterator[Fork]:
    """Ask the process at the other end of `control` for a fork. The command ends with the block, if not before.

    Raises:
        OSError: nobody is at the other end, or nobody listens.
    """
    with ExitStack() as ours:
        with ExitStack() as theirs:
            channel, far = socket.socketpair()
            ours.enter_context(channel)
            theirs.enter_context(far)
            stdin, nothing = os.pipe()
            os.close(nothing)  # there is nothing to read for it
            theirs.callback(os.close, stdin)
            given = [far.fileno(), stdin]
            kept: list[int] = []
            for _ in ("stdout", "stderr"):
                read, write = os.pipe()
                ours.callback(os.close, read)
                theirs.callback(os.close, write)
                os.set_blocking(read, False)
                kept.append(read)
                given.append(write)
            socket.send_fds(control, [b"!"], given)
        channel.setblocking(False)
        yield Fork(channel, stdout=kept[0], stderr=kept[1])


async def _read(descriptor: int, kept: Kept) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            chunk = os.read(descriptor, CHUNK)
        except BlockingIOError:
            ready = loop.create_future()
            loop.add_reader(descriptor, _settle, ready)
            try:
                await ready
            finally:
                loop.remove_reader(descriptor)
            continue
        if not chunk:
            return
        kept.add(chunk)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)

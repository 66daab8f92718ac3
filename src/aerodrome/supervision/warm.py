"""A process that has made everything ready, and forks for each command; `aerodrome_airflow.warm` is one.

Its standard input is one of a pair of sockets without a name, of which we hold the other: nobody else can give it
commands. When we end, however we end, it ends too, and so does every command.
"""

from __future__ import annotations

import asyncio
import json
import socket
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from aerodrome.errors import Temporary
from aerodrome.layout import Layout
from aerodrome.supervision import processes
from aerodrome.supervision.fork import ordered
from aerodrome.supervision.once import LIMIT, Command, Kept, finish, new_mark, words

_READY = "ready"
_LINE = 4096  # bytes of what it says of itself
_SAID = 64 * 1024  # bytes that are kept of its error output
_FORK = 20.0  # seconds until a command must have begun; milliseconds are usual
_END = 10.0  # seconds for it to end
_KILLED = 137  # exit code of what was killed, as a shell has it


class Unavailable(Exception):
    """There is no warm process for the command: it has not begun, and won't. The message says why."""


@dataclass(slots=True, eq=False)
class WarmProcess:
    """Runs commands as soon as it is asked to, however many at once."""

    _layout: Layout
    _process: Process
    _control: socket.socket
    _errors: Kept
    _reading: asyncio.Future[tuple[None, None]]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def said(self) -> str:
        """What it wrote to its error output: no command's."""
        return self._errors.data.decode(errors="replace").strip()

    @classmethod
    async def start(cls, layout: Layout, command: Command, *, patience: float = 60.0) -> WarmProcess:
        """One that is ready for commands.

        Raises:
            Unavailable: it ended, was not ready within `patience` seconds, or says itself why it is no good.
        """
        warm, given = await cls._spawn(layout, command)
        answer = ""
        try:
            async with asyncio.timeout(patience):
                with suppress(ConnectionError):  # it has ended
                    await asyncio.get_running_loop().sock_sendall(warm._control, given)
                    answer = await warm._line()
        except TimeoutError:
            answer = f"it was not ready within {patience:g} s"
        finally:
            if answer != _READY:
                await warm.kill()
        if answer != _READY:
            raise Unavailable(answer or warm._last_words())
        return warm

    @classmethod
    async def _spawn(cls, layout: Layout, command: Command) -> tuple[WarmProcess, bytes]:
        """The process, and what it must be given first."""
        ours, theirs = socket.socketpair()
        argv, given = words(command, new_mark(layout))
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *argv, stdin=theirs.fileno(), stdout=PIPE, stderr=PIPE, cwd="/", env={}, start_new_session=True
                )
            except OSError as error:
                ours.close()
                raise Unavailable(f"{command.argv[0]} can't be started: {error}") from error
        ours.setblocking(False)
        assert process.stdout is not None  # noqa: S101  PIPE was asked for
        assert process.stderr is not None  # noqa: S101
        errors = Kept(_SAID)
        reading = asyncio.gather(Kept(0).read(process.stdout), errors.read(process.stderr))
        return cls(layout, process, ours, errors, reading), given

    async def run(
        self, arguments: Sequence[str], *, timeout: float = 60.0, limit: int = LIMIT
    ) -> tuple[int, bytes, bytes]:
        """Run a command to its end, as `run_once` would: exit code, output, error output; nothing of it lives on.

        Who kills its keeper kills it: exit code 137.

        Raises:
            Unavailable: it has not begun, and won't.
            Temporary: it did not end within `timeout` seconds, and was killed with all it started.
        """
        mark = new_mark(self._layout)
        order = json.dumps({"arguments": list(arguments), "mark": mark}).encode() + b"\n"
        late = Temporary(f"The command did not end within {timeout:g} s and was ended.")
        out, err = Kept(limit), Kept(limit)
        with ExitStack() as stack:
            try:
                fork = stack.enter_context(ordered(self._control))
            except OSError as error:
                raise Unavailable(self._last_words()) from error
            if not await fork.begin(order, min(timeout, _FORK)):
                await self.kill()
                await fork.stop()
                raise late if fork.has_begun else Unavailable(self._last_words())
            reading = asyncio.ensure_future(fork.read(out, err))
            try:
                async with asyncio.timeout(timeout):
                    code = await fork.code()
                    if code is None:  # what the command started may live on
                        await _kill_marked(mark)
                    await reading
            except TimeoutError:
                if not await fork.stop():
                    await _kill_marked(mark)
                raise late from None
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        return finish(_KILLED if code is None else code, out, err)

    async def end(self) -> None:
        """Let it end, as it does once nobody is at the other end of its input. Commands under way go on."""
        self._control.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_END):
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End it now. Commands under way go on."""
        self._control.close()
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _line(self) -> str:
        """What it says of itself; "" when it ended without a word."""
        said = b""
        while not said.endswith(b"\n") and len(said) < _LINE:
            piece = await asyncio.get_running_loop().sock_recv(self._control, _LINE)
            if not piece:
                break
            said += piece
        return said.decode(errors="replace").strip()

    def _last_words(self) -> str:
        return self.said.rpartition("\n")[2] or "it has ended"


async def _kill_marked(mark: str) -> None:
    await asyncio.to_thread(processes.kill_tree, [], mark)

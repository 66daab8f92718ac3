"""One-off commands: outside Supervisor, with the same rights, environment and end of the whole tree as a program."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aerodrome.errors import Temporary
from aerodrome.layout import Layout
from aerodrome.supervision import processes
from aerodrome.supervision.launch import MARKER, defaults, exports
from aerodrome.supervision.sandbox import Sandbox, become

CHUNK = 64 * 1024
LIMIT = 10_000_000  # bytes of each output that are kept
# The variables are the first $1 bytes of standard input: read as the user, never seen in argv.
_INNER = (
    'PATH=/usr/bin:/bin; variables=$(head -c "$1") || exit 1; cd -- "$2" || exit 126; umask "$3"; shift 3; '
    'unset OLDPWD; eval "unset variables; $variables"; exec "$@"'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run; the members are those of `Program`."""

    argv: tuple[str, ...]
    uid: int | None = None
    gid: int | None = None
    directory: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    umask: int = 0o027
    sandbox: Sandbox | None = None


@dataclass(slots=True)
class Kept:
    """The first `limit` bytes of a stream; the rest is read and dropped, so that the command doesn't hang."""

    limit: int
    data: bytearray = field(default_factory=bytearray)
    dropped: bool = False

    async def read(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(CHUNK):
            self.add(chunk)

    def add(self, chunk: bytes) -> None:
        room = self.limit - len(self.data)
        self.data += chunk[:room]
        self.dropped = self.dropped or len(chunk) > room


def new_mark(layout: Layout) -> str:
    """What all that a one-off command starts carries in its environment, under `MARKER`."""
    return f"{layout.run}/once-{secrets.token_hex(8)}"


def words(command: Command, mark: str) -> tuple[list[str], bytes]:
    """How to start it: an argument list, and what must come first on its standard input."""
    given = exports(defaults(command.uid) | dict(command.environment) | {MARKER: mark}).encode(errors="surrogateescape")
    rest = [str(len(given)), str(command.directory), f"{command.umask:04o}", *command.argv]
    return [*become(command.sandbox, command.uid, command.gid), "/bin/sh", "-c", _INNER, "sh", *rest], given


def finish(code: int, out: Kept, err: Kept) -> tuple[int, bytes, bytes]:
    """The outcome of a command; its error output says where something was left out."""
    if out.dropped or err.dropped:
        err.data += f"\n[Aerodrome: output was cut at {out.limit} bytes]\n".encode()
    return code, bytes(out.data), bytes(err.data)


async def run_once(
    layout: Layout, command: Command, *, stdin: bytes = b"", timeout: float = 60.0, limit: int = LIMIT
) -> tuple[int, bytes, bytes]:
    """Run it to its end: exit code (128 + n: by signal n), output, error output, at most `limit` bytes of each.

    All that it started and that lives on is killed.

    Raises:
        Temporary: it did not end within `timeout` seconds, and was killed with all it started.
    """
    mark = new_mark(layout)
    argv, given = words(command, mark)
    out, err = Kept(limit), Kept(limit)
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd="/",
            env={},
            start_new_session=True,
        )
    except OSError as error:
        raise Temporary(f"{command.argv[0]} can't be started: {error}.") from error
    started = processes.look(process.pid)
    try:
        async with asyncio.timeout(timeout):
            await _converse(process, given + stdin, out, err)
    except TimeoutError:
        if process.returncode is None:
            raise Temporary(f"{command.argv[0]} did not end within {timeout:g} s and was ended.") from None
    finally:
        roots = [processes.Record(started, processes.boot_id())] if started else []
        await asyncio.to_thread(processes.kill_tree, roots, mark)
        await process.wait()
    code = process.returncode or 0
    return finish(128 - code if code < 0 else code, out, err)


async def _converse(process: asyncio.subprocess.Process, given: bytes, out: Kept, err: Kept) -> None:
    assert process.stdin is not None  # noqa: S101  PIPE was asked for
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101

    async def feed(stream: asyncio.StreamWriter) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it need not read to the end
            stream.write(given)
            await stream.drain()
        stream.close()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await stream.wait_closed()

    await asyncio.gather(feed(process.stdin), out.read(process.stdout), err.read(process.stderr), process.wait())

"""One command after the other in forks of a process that has made everything ready for them. Knows nothing of Airflow.

    the warm process
      └── a keeper for each command, in a session of its own; it adopts what loses its parent below it
            └── the command, in a session of its own
                  └── whatever it starts

The keeper tells whoever asked for the command, over a channel of theirs, that it has begun and how it ended, and ends
all that the command left behind. When the other end of the channel goes, it ends the command too. It needs nobody else
for that: commands go on when the warm process is killed, and end when the control plane is.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from aerodrome_airflow.orphans import MARKER, family

_BEGUN = b"begun\n"
_ENDED = b"ended %d\n"
_DESCRIPTORS = 4  # channel, standard input, output, error output
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_KILLED_BY = 128  # a signal's number is added to it, as a shell does

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Start:
    """What a command finds when it starts."""

    main: Callable[[list[str]], NoReturn]  # takes the arguments
    directory: str
    umask: int

    @classmethod
    def here(cls, main: Callable[[list[str]], NoReturn]) -> Start:
        umask = os.umask(0o077)
        os.umask(umask)
        return cls(main, os.getcwd(), umask)


def take_over_stdin() -> socket.socket:
    """The socket that is standard input, from which nothing else can be read any more.

    All other descriptors but the standard ones are closed: who started us on uvloop has left copies of these in us,
    which every command would have too.
    """
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != control.fileno():
            with suppress(OSError):  # that of the folder itself
                os.close(int(name))
    return control


def serve(control: socket.socket, start: Start) -> None:
    """Fork for every command that comes on `control`, until its other end is closed.

    A command is one byte with four descriptors: channel, standard input, output and error output. On the channel comes
    a line of JSON, an object with `arguments` and `mark`, which all that it starts carries in its environment; back
    go the lines `begun` and `ended CODE` (128 + n: by signal n). From `begun` on it may have done something.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers report elsewhere, so that none waits for us
    while True:
        try:
            byte, descriptors, _, _ = socket.recv_fds(control, 1, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            return
        if not byte:
            return
        if len(descriptors) == _DESCRIPTORS:  # fewer: there was no room for more, and who asked sees them closed
            _fork(control, descriptors, start)
        for descriptor in descriptors:
            os.close(descriptor)


def _fork(control: socket.socket, descriptors: list[int], start: Start) -> None:
    try:
        if os.fork():
            return
    except OSError as error:
        sys.stderr.write(f"there can be no process for a command: {error}\n")
        return
    try:
        control.close()
        _keep(descriptors, start)
    except BrokenPipeError:  # nobody waits for it any more
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a fork must never go back to where its parent is
        traceback.print_exc()
    finally:
        os._exit(1)


def _keep(descriptors: list[int], start: Start) -> None:
    channel, *standard = descriptors
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
    order = _read_line(channel)
    os.write(channel, _BEGUN)
    keeper = os.getpid()
    command = os.fork()
    if not command:
        os.close(channel)
        _become(json.loads(order), start, keeper)
    code = _wait(command, channel)
    end_descendants()
    os.write(channel, _ENDED % code)
    os._exit(0)


def _wait(command: int, channel: int) -> int:
    """The exit code of the command, once it has ended by itself or nobody waits for it any more."""
    end = os.pidfd_open(command)
    poll = select.poll()
    poll.register(end, select.POLLIN)
    poll.register(channel, select.POLLIN | select.POLLRDHUP)  # nothing more is said on it
    if end not in dict(poll.poll()):
        os.kill(command, signal.SIGKILL)
    os.close(end)
    code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
    return _KILLED_BY - code if code < 0 else code


def end_descendants() -> None:
    """Kill all that descends from this process, until nothing is left."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
            for pid in family() - {os.getpid()}:
                try:
                    os.kill(pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    continue
            os.waitpid(-1, 0)
        except ChildProcessError:  # there are none
            return


def _become(order: dict[str, Any], start: Start, keeper: int) -> NoReturn:
    """The command, as it would be if it had just been started."""
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:  # it died before that
            os._exit(1)
        os.chdir(start.directory)
        os.umask(start.umask)
        os.environ[MARKER] = order["mark"]
        importlib.invalidate_caches()
        if (numpy := sys.modules.get("numpy.random")) is not None:
            numpy.seed()  # Python's own generator does that in every child
        start.main(order["arguments"])
    except BaseException:  # noqa: BLE001 - a fork must never go back to where its parent is
        traceback.print_exc()
    finally:
        os._exit(1)


def _read_line(descriptor: int) -> bytes:
    """Raises BrokenPipeError: the other end went before the line's end."""
    read = bytearray()
    while not read.endswith(b"\n"):
        piece = os.read(descriptor, 65536)
        if not piece:
            raise BrokenPipeError
        read += piece
    return bytes(read)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")

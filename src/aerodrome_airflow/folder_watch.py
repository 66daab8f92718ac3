"""Being told by the kernel that another directory was put where one was (inotify). Knows nothing of Airflow."""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress
from pathlib import Path

_IN_MOVED_TO = 0x80
_IN_Q_OVERFLOW = 0x4000
_IN_ONLYDIR = 0x01000000
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
_ENOUGH = 64 * 1024  # bytes of events read at once


class FolderWatch:
    """To be waited for as a file descriptor is (`fileno`): readable when something was moved beside the folder.

    It watches the directory that the folder lies in, since the folder itself is another one after each exchange. A
    process forked from this one must not read it.
    """

    def __init__(self, folder: Path) -> None:
        """Raises OSError: the directory isn't there or may not be read, or the user has no watches left."""
        self.folder = folder
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = _checked(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            above = os.fsencode(folder.parent)
            _checked(libc.inotify_add_watch(self._descriptor, above, _IN_MOVED_TO | _IN_ONLYDIR))
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        return self._descriptor

    def exchanged(self) -> bool:
        """Whether it was, since this was asked last. It says so too when it has lost count."""
        found = False
        with suppress(BlockingIOError):
            while events := os.read(self._descriptor, _ENOUGH):
                found = self._names_folder(events) or found
        return found

    def close(self) -> None:
        os.close(self._descriptor)

    def _names_folder(self, events: bytes) -> bool:
        found, place = False, 0
        while place < len(events):
            _, mask, _, length = _EVENT.unpack_from(events, place)
            place += _EVENT.size
            name = events[place : place + length].rstrip(b"\0")
            place += length
            found = found or bool(mask & _IN_Q_OVERFLOW) or name == os.fsencode(self.folder.name)
        return found


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

"""Putting a directory in the place of another in one instant."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


def put_in_place(new: Path, place: Path) -> bool:
    """Make `new` what is found at `place`; what was there is then at `new`. Returns whether anything was there.

    One system call (renameat2 with RENAME_EXCHANGE): whoever looks, even after a `kill -9`, finds the old directory or
    the new one. File systems without that call (some network ones) get two renames, microseconds apart.

    Raises:
        OSError: the file system refused.
    """
    if not place.exists():
        new.rename(place)
        return False
    if not _exchange(new, place):
        aside = new.with_name(f"{new.name}.aside")
        place.rename(aside)
        new.rename(place)
        aside.rename(new)
    return True


def _exchange(one: Path, other: Path) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))

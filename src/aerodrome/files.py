"""Files and directories that are either whole or not there, whatever kills us and whenever."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


def write_file(path: Path, data: str | bytes, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Write aside, fsync, rename over `path`, fsync the directory. `owner` is (uid, gid); None: ourselves.

    Raises:
        OSError: the disk is full, or the directory isn't ours.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # the umask doesn't decide
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a rename in the directory outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ensure_directory(path: Path, mode: int = 0o700, owner: tuple[int, int] | None = None) -> None:
    """Make the directory (its parent exists) with exactly this mode and owner, also when it was there before."""
    path.mkdir(mode=mode, exist_ok=True)
    found = path.stat()
    if owner is not None and (found.st_uid, found.st_gid) != owner:
        os.chown(path, *owner)
    if found.st_mode & 0o7777 != mode:
        path.chmod(mode)


def own_tree(path: Path, owner: tuple[int, int]) -> None:
    """Give `path` and everything in it to `owner`: after a restore, a system user may have another number."""
    if (path.stat().st_uid, path.stat().st_gid) == owner:
        return
    for folder, folders, names in os.walk(path, topdown=False):
        for name in [*folders, *names]:
            os.chown(Path(folder, name), *owner, follow_symlinks=False)
    os.chown(path, *owner)  # last: says that the rest is done


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

"""A Python that the system users of components can run: one below /root can't be entered by them."""

from __future__ import annotations

import os
import platform
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from aerodrome.errors import Permanent
from aerodrome.machineroom.users import Owner, run_as

_FOLDERS = ("/usr/bin", "/usr/local/bin")
_NOBODY = 65534
_PATIENCE = 20  # seconds


def public_python(versions: Sequence[str]) -> Path:
    """The interpreter of the first of these versions ("3.12") that is here and that other users can execute. Blocking.

    An ordinary user's components run as that user, so anything that user can execute will do.

    Raises:
        Permanent: there is none of any of the versions.
    """
    for version in versions:
        for candidate in _candidates(version):
            if executable_by_others(candidate) and _runs(candidate, version):
                return candidate
    wanted = " or ".join(versions)
    raise Permanent(
        f"No Python {wanted} was found that other users can execute (looked in {', '.join(_FOLDERS)}, /opt and at "
        f"{Path(sys.base_prefix, 'bin')}). Install one, with apt install python{versions[-1]} on Debian 12, say."
    )


def _candidates(version: str) -> Iterator[Path]:
    name = f"python{version}"
    folders = (
        [Path(folder) for folder in _FOLDERS] + sorted(Path("/opt").glob("*/bin")) + [Path(sys.base_prefix, "bin")]
    )
    for folder in folders:
        path = folder / name
        if path.exists():
            yield path.resolve()
    if version == ".".join(platform.python_version_tuple()[:2]) and sys.prefix == sys.base_prefix:
        yield Path(sys.executable).resolve()


def executable_by_others(path: Path) -> bool:
    """Whether every user can enter the folders above and execute the file (whether we can, when we aren't root)."""
    if os.geteuid() != 0:
        return os.access(path, os.X_OK)
    return enterable_by_others(path.parent) and bool(path.stat().st_mode & stat.S_IXOTH)


def enterable_by_others(folder: Path) -> bool:
    """Whether every folder from the root down lets others through."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (folder, *folder.parents))


def _runs(path: Path, version: str) -> bool:
    """Run it as those users would: its standard library may be closed to them although the program isn't."""
    code = "import sys, ssl, encodings; print('%d.%d' % sys.version_info[:2])"
    nobody = Owner(_NOBODY, _NOBODY) if os.geteuid() == 0 else None
    try:
        done = run_as(nobody, [str(path), "-I", "-c", code], timeout=_PATIENCE)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and done.stdout.strip() == version

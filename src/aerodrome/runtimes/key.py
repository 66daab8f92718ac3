"""The name of a runtime: it says all that went into it, so that equal names are equal runtimes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from aerodrome.domain.versions import AirflowVersion
from aerodrome.errors import Permanent
from aerodrome.layout import Layout

MARKER = ".complete"  # written last, with fsync: no marker, no runtime
_RECIPE = "1"  # grows when the way of building changes what comes out
_KEY = re.compile(r"(\d+\.\d+\.\d+)-py(\d\.\d+)-([0-9a-f]{12})")


def lock_text(version: str, python: str) -> str:
    """The lock file for Airflow `version` on Python `python` ("3.11").

    Raises:
        Permanent: none is shipped for that pair.
    """
    entry = files("aerodrome.runtimes").joinpath("locks", f"airflow-{version}-py{python}.txt")
    try:
        return entry.read_text()
    except FileNotFoundError:
        raise Permanent(
            f"There is no lock for Airflow {version} on Python {python}; `aerodrome runtimes lock {version}` makes one."
        ) from None


@cache
def package_files() -> dict[str, bytes]:
    """What is copied into every runtime: the files of `aerodrome_airflow`, by path within it."""
    found: dict[str, bytes] = {}

    def walk(folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                if entry.name != "__pycache__":
                    walk(entry, f"{prefix}{entry.name}/")
            elif not entry.name.endswith(".pyc"):
                found[prefix + entry.name] = entry.read_bytes()

    walk(files("aerodrome_airflow"), "")
    return found


def runtime_key(version: str, python: str, requirements: str = "") -> str:
    """The key of a runtime: `3.3.1-py3.11-0123456789ab`; also its directory. `requirements`: the user's, verbatim."""
    digest = hashlib.sha256()
    for part in (_RECIPE, version, python, lock_text(version, python), requirements):
        digest.update(f"{len(part)}:{part}".encode())
    for name, data in sorted(package_files().items()):
        digest.update(f"{name}:{len(data)}:".encode() + data)
    return f"{version}-py{python}-{digest.hexdigest()[:12]}"


def split_key(key: str) -> tuple[str, str]:
    """(Airflow version, Python version) of a key.

    Raises:
        Permanent: it isn't one.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        raise Permanent(f"{key!r} is not the key of a runtime.")
    return match[1], match[2]


def is_ready(layout: Layout, key: str) -> bool:
    """True when the runtime was built to its end."""
    return (layout.runtime(key) / MARKER).is_file()


def choose_python(version: AirflowVersion, *, as_other_user: bool) -> tuple[str, str]:
    """(Python version, path) of the first Python of the version's list that is here and works.

    `as_other_user`: components run as system users of their own, so the interpreter must be executable by everybody
    (a Python below root's home is not).

    Raises:
        Permanent: there is none.
    """
    for python in version.pythons:
        if path := find_python(python, as_other_user=as_other_user):
            return python, path
    wanted = " or ".join(version.pythons)
    whose = " that every user can run (one below a home directory can't be)" if as_other_user else ""
    raise Permanent(
        f"Airflow {version.version} needs Python {wanted}{whose}, and none was found. Install one, for example "
        f"`apt install python{version.pythons[-1]} python{version.pythons[-1]}-venv`."
    )


def find_python(python: str, *, as_other_user: bool) -> str | None:
    """The path of a Python of that version ("3.11") that is here and works; None when there is none. Blocking."""
    for folder in ("/usr/bin", "/usr/local/bin", *os.get_exec_path()):
        path = shutil.which(f"python{python}", path=folder)
        if path and (real := _works(path, python)) and not (as_other_user and not _is_public(real)):
            return real
    return None


@cache
def _works(path: str, python: str) -> str | None:
    """The interpreter's real path, or None when it is a shim without an interpreter or another version."""
    script = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys._base_executable or sys.executable)"
    try:
        done = subprocess.run([path, "-I", "-c", script], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found, _, executable = done.stdout.strip().partition("\n")
    return executable if found == python else None


def _is_public(path: str) -> bool:
    """True when every user may execute the file and enter all folders above it."""
    real = Path(path).resolve()
    return all(entry.stat().st_mode & stat.S_IXOTH for entry in (real, *real.parents))

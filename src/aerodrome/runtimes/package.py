"""The wheels that a requirements.txt needs beyond Airflow, for a version, a Python and a machine that need not be ours,
packed into a plugins.zip: an environment without a way to the package registry installs from there (mwaa-spec 5.1).
"""

from __future__ import annotations

import hashlib
import shutil
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from aerodrome.errors import Permanent, Temporary
from aerodrome.runtimes.constraints import pins
from aerodrome.runtimes.requirements import PLUGINS, Requirements, redact

MACHINES = ("x86_64", "aarch64")
_GLIBC = range(28, 4, -1)  # minor versions: 2.28 is older than every system that Airflow's own wheels run on
_ALIASES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_PATIENCE = 60.0  # seconds without a byte
_OLDEST = (1980, 1, 1, 0, 0, 0)  # the same content makes the same archive
_HEADER = f"""\
# Made by `aerodrome requirements package`: all of it is in the plugins.zip beside it.
--find-links {PLUGINS}
--no-index
"""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel that was chosen. `place`: URL or path."""

    name: str
    version: str
    file: str
    place: str
    sha256: str


def uv_platform(machine: str) -> str:
    """uv's word for it."""
    return f"{machine}-manylinux_2_{_GLIBC[0]}"


def choose(lock: str, shipped: str, python: str, machine: str) -> list[Wheel]:
    """The best wheel of each package in a pylock.toml (PEP 751), but for those that Airflow's own lock has as well.

    Raises:
        Permanent: a package has none for that Python and machine.
    """
    order = {tag: rank for rank, tag in enumerate(_tags(python, machine))}
    there = {name: pin.partition("==")[2].partition(" ")[0].rstrip(";") for name, pin in pins(shipped).items()}
    found = []
    for package in tomllib.loads(lock).get("packages", ()):
        name, version = canonicalize_name(package["name"]), package.get("version", "")
        if there.get(name) == version:
            continue
        candidates = [*package.get("wheels", ()), *([package["archive"]] if "archive" in package else [])]
        ranked = [(rank, entry) for entry in candidates if (rank := _rank(_file(entry), order)) is not None]
        if not ranked:
            raise Permanent(
                f"{name} {version} has no wheel for Python {python} on Linux {machine}; make one and name its file."
            )
        best = min(ranked, key=lambda pair: pair[0])[1]
        found.append(Wheel(name, version, _file(best), best.get("url") or best["path"], best["hashes"]["sha256"]))
    return sorted(found, key=lambda wheel: wheel.name)


def _tags(python: str, machine: str) -> Iterator[Tag]:
    major, minor = map(int, python.split("."))
    platforms = [name for glibc in _GLIBC for name in (f"manylinux_2_{glibc}", _ALIASES.get(glibc)) if name]
    words = [f"{name}_{machine}" for name in platforms] + [f"linux_{machine}"]
    yield from cpython_tags((major, minor), platforms=words)
    yield from compatible_tags((major, minor), f"cp{major}{minor}", words)


def _file(entry: Mapping[str, str]) -> str:
    return entry.get("name") or unquote(urlsplit(entry.get("url") or entry["path"]).path).rpartition("/")[2]


def _rank(file: str, order: Mapping[Tag, int]) -> int | None:
    if not file.endswith(".whl"):
        return None
    return min((order[tag] for tag in parse_wheel_filename(file)[3] if tag in order), default=None)


def fetch(wheel: Wheel, folder: Path, wanted: Requirements) -> Path:
    """Bring the wheel's file into the folder and check its hash. Blocking.

    Raises:
        Permanent: it isn't there, or another one is.
        Temporary: it can't be reached.
    """
    target = folder / wheel.file
    place = wheel.place.removeprefix("file://")
    if "://" in place:
        _download(place, target, wanted)
    else:
        shutil.copyfile(unquote(place), target)
    with target.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != wheel.sha256:
            raise Permanent(
                f"{wheel.file} is not the file whose hash its index names. Try again; if it stays so, ask its owner."
            )
    return target


def _download(url: str, target: Path, wanted: Requirements) -> None:
    shown = redact(url, wanted.secrets)
    try:
        with httpx.stream("GET", _with_login(url, wanted), timeout=_PATIENCE, follow_redirects=True) as answer:
            if answer.status_code != 200:
                raise Permanent(f"{shown} answered {answer.status_code}.")
            with target.open("wb") as file:
                for chunk in answer.iter_bytes():
                    file.write(chunk)
    except httpx.HTTPError as error:
        raise Temporary(f"{shown} can't be reached ({type(error).__name__}). Try again.") from None


def _with_login(url: str, wanted: Requirements) -> str:
    """The URL with what the index on the same host is asked with: uv leaves that out of what it writes."""
    parts = urlsplit(url)
    for index in (wanted.index or "", *wanted.extra_indexes, *wanted.find_links):
        known = urlsplit(index)
        login, _, host = known.netloc.rpartition("@")
        if login and host == parts.netloc and known.scheme == parts.scheme:
            return urlunsplit(parts._replace(netloc=known.netloc))
    return url


def pack(target: Path, wheels: Sequence[Path], plugins: Path | None) -> None:
    """Write a plugins.zip of the wheels, and of the folder `plugins` if there is one. Equal content, equal bytes."""
    files = {path.name: path for path in wheels}
    if plugins is not None:
        files |= {str(path.relative_to(plugins)): path for path in plugins.rglob("*") if path.is_file()}
    aside = target.with_name(f".{target.name}.new")
    with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(files.items()):
            info = zipfile.ZipInfo(name, _OLDEST)
            info.external_attr = (path.stat().st_mode & 0o777 | 0o100000) << 16
            info.compress_type = zipfile.ZIP_STORED if name.endswith(".whl") else zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(info, "w") as packed:
                shutil.copyfileobj(source, packed, 1 << 20)
    aside.replace(target)


def packed_requirements(wheels: Sequence[Wheel]) -> str:
    """A requirements.txt that takes exactly these from plugins.zip."""
    return _HEADER + "".join(f"{wheel.name}=={wheel.version}\n" for wheel in wheels)

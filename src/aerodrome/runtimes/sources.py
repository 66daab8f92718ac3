"""Where a requirements.txt may take files from: MWAA's paths and what they are here, and URLs of constraints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import httpx
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from aerodrome.errors import Permanent, Temporary
from aerodrome.layout import Layout
from aerodrome.runtimes.constraints import is_official, pins
from aerodrome.runtimes.key import lock_text
from aerodrome.runtimes.requirements import FOLDERS, Requirements, redact

_LONGEST = 10 << 20  # bytes of a file of requirements or constraints
_PATIENCE = 30.0  # seconds


def translate(text: str, folders: Mapping[str, Path]) -> str:
    """A path, or a line with a `file://` URL, with MWAA's folders replaced by those here."""
    for folder, here in folders.items():
        if text == folder or text.startswith(f"{folder}/"):
            return f"{here}{text.removeprefix(folder)}"
        text = text.replace(f"file://{folder}/", f"file://{quote(str(here))}/")
    return text


def translate_back(text: str, folders: Mapping[str, Path]) -> str:
    for folder, here in folders.items():
        text = text.replace(f"file://{quote(str(here))}/", f"file://{folder}/")
    return text


def own_hashes(wanted: Requirements, folders: Mapping[str, Path], name: str, version: str) -> list[str]:
    """`sha256:…` of each wheel of that package in the folders that the file looks for packages in, sorted. Blocking."""
    found = set()
    for place in wanted.find_links:
        folder = Path(translate(place, folders))
        for path in folder.glob("*.whl") if "://" not in place else ():
            try:
                named = parse_wheel_filename(path.name)[:2]
            except InvalidWheelFilename:
                continue
            if (canonicalize_name(name), version) == (named[0], str(named[1])):
                with path.open("rb") as file:
                    found.add(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")
    return sorted(found)


def opener(version: str, python: str, folders: Mapping[str, Path]) -> Callable[[str], bytes]:
    """What `requirements.parse` opens files with. Blocking."""

    def open_file(place: str) -> bytes:
        if "://" not in place:
            return _read(place, folders)
        try:
            return _fetch(place)
        except Temporary:
            if not is_official(place, version):
                raise
            return "\n".join(pins(lock_text(version, python)).values()).encode()  # the same pins, as shipped

    return open_file


def _read(place: str, folders: Mapping[str, Path]) -> bytes:
    folder = next((folder for folder in FOLDERS if f"{place}/".startswith(f"{folder}/")), "")
    here = folders.get(folder)
    path = here and here / place.removeprefix(folder).strip("/")
    if not path or not here or not path.resolve().is_relative_to(here.resolve()) or not path.is_file():
        raise Permanent(f"requirements.txt names {place}, and there is no such file.")
    if path.stat().st_size > _LONGEST:
        raise Permanent(f"requirements.txt names {place}, which is larger than {_LONGEST >> 20} MB.")
    return path.read_bytes()


def _fetch(url: str) -> bytes:
    shown, data = redact(url, ()), b""
    try:
        with httpx.stream("GET", url, timeout=_PATIENCE, follow_redirects=True) as answer:
            if answer.status_code >= 500:
                raise Temporary(f"requirements.txt names {shown}, which answered {answer.status_code}.", 10)
            if answer.status_code != 200:
                raise Permanent(f"requirements.txt names {shown}, which answered {answer.status_code}.")
            for chunk in answer.iter_bytes():
                data += chunk
                if len(data) > _LONGEST:
                    raise Permanent(f"requirements.txt names {shown}, which is larger than {_LONGEST >> 20} MB.")
    except httpx.HTTPError as error:
        raise Temporary(
            f"requirements.txt names {shown}, which can't be reached ({type(error).__name__}).", 10
        ) from None
    return data


def cache_of(layout: Layout, wanted: Requirements) -> Path:
    """uv's cache for these requirements: what came from sources of one's own is found by those alone who name the same
    ones, credentials included. All lie on one file system, so that installs are hard links."""
    if not wanted.is_private:
        return layout.cache / "uv"
    named = (
        wanted.index or "",
        *wanted.extra_indexes,
        *wanted.find_links,
        *(line for line in wanted.wanted if "://" in line),
    )
    return layout.cache / f"uv-{hashlib.sha256(repr(named).encode()).hexdigest()[:16]}"

"""From a requirements.txt to the exact wheels that a runtime gets beyond its base: uv decides, nothing is changed.

uv is asked twice. First what it would install into the base: Airflow and all of its packages are in the question, so a
requirement that would break one is a conflict here and not a surprise later. Then for the hashes of the answer.
Both run with the base's own Python, in which no code of the user's packages has been put.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.specifiers import Specifier
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from aerodrome.domain import versions
from aerodrome.errors import Permanent
from aerodrome.files import write_file
from aerodrome.layout import Layout
from aerodrome.runtimes import uv
from aerodrome.runtimes.conflicts import explain
from aerodrome.runtimes.constraints import base_lines, constraints, pins
from aerodrome.runtimes.key import lock_text, split_key
from aerodrome.runtimes.requirements import Requirements
from aerodrome.runtimes.scratch import scratch
from aerodrome.runtimes.sources import cache_of, own_hashes, translate, translate_back

_CHANGE = re.compile(r"^ (?P<sign>[+~-]) (?P<name>[A-Za-z0-9._-]+)(==(?P<version>\S+)| @ (?P<place>\S+))", re.MULTILINE)
_OWN_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")  # uv would prefer the installation's to the file's


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a runtime gets. `packages`, `replaced`: name -> version; `lock`: a line for each package, with hashes."""

    packages: Mapping[str, str]
    replaced: Mapping[str, str]  # of the base, with the version that goes
    lock: str = field(repr=False)  # paths in it are those in MWAA's containers

    @property
    def is_empty(self) -> bool:
        """Whether the base has it all."""
        return not self.packages


def resolve(layout: Layout, base: str, wanted: Requirements, folders: Mapping[str, Path]) -> Resolution:
    """Find the packages. `folders`: where `requirements.FOLDERS` are here; those that aren't given are empty.

    Blocking: a second or two with a warm cache. Nothing that exists is changed.

    Raises:
        Permanent: the requirements conflict, or ask for what isn't there; the message has uv's explanation.
        Temporary: the package registry, or an index of the user's, is out of reach.
    """
    version, python = split_key(base)
    lock = lock_text(version, python)
    with scratch(layout) as folder:
        ask = _Question(layout, base, wanted, folders, folder)
        _write(ask.folder / "constraints.txt", _held(lock, wanted, folders))
        lines = [*base_lines(versions.get(version)), *ask.lines()]
        words = ("--dry-run", "--constraints", str(ask.folder / "constraints.txt"))
        packages, gone = _changes(ask.uv("install", lines, *words))
        if unwanted := _prereleases(ask, packages):
            never = [word for name in unwanted for word in ("--prerelease-package", f"{name}=disallow")]
            packages, gone = _changes(ask.uv("install", lines, *words, *never))
        return Resolution(packages, gone, _lock(ask, packages))


def _changes(plan: str) -> tuple[dict[str, str], dict[str, str]]:
    """What uv would put in and take out: name -> version."""
    added: dict[str, str] = {}
    removed: dict[str, str] = {}
    for found in _CHANGE.finditer(plan):
        name = str(canonicalize_name(found["name"]))
        (removed if found["sign"] == "-" else added)[name] = found["version"] or _version_of(found["place"])
    return added, removed


def _version_of(place: str) -> str:
    return str(parse_wheel_filename(unquote(urlsplit(place).path).rpartition("/")[2])[1])


def _prereleases(ask: _Question, packages: Mapping[str, str]) -> list[str]:
    """Packages that nobody wants a pre-release of: there are others, which conflict.

    pip says so then; uv takes an alpha when nothing else fits. A package that has nothing but pre-releases is welcome.
    """
    asked = {line for line in ask.wanted.wanted if any(item.prereleases for item in _specifiers(line))}
    named = {str(canonicalize_name(Requirement(line).name)) for line in asked}
    found = [name for name, version in packages.items() if Version(version).is_prerelease and name not in named]
    if ask.wanted.prereleases:
        return []
    return [name for name in found if _has_releases(ask, name)]


def _specifiers(line: str) -> list[Specifier]:
    return [] if " @ " in line else list(Requirement(line).specifier)


def _has_releases(ask: _Question, name: str) -> bool:
    try:
        ask.uv("compile", [name], "--no-deps", "--prerelease", "disallow", "--quiet")
    except Permanent:
        return False
    return True


def _lock(ask: _Question, packages: Mapping[str, str]) -> str:
    """One line for each package, with its hashes: the user's where there are some, else those that the index gives, or
    that the files in the environment's own folders have. Where there are none at all, the version must do."""
    places = {
        str(canonicalize_name(re.split(r"[\[ @]", line, maxsplit=1)[0])): line for line in ask.lines() if " @ " in line
    }
    allowed = {name: values for name, values in ask.wanted.hashes.items() if name not in places}
    asked = [places.get(name, f"{name}=={version}") for name, version in packages.items() if name not in allowed]
    options = ("--no-deps", "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--quiet")
    found = re.sub(r" \\\n\s+", " ", ask.uv("compile", asked, *options)).splitlines() if asked else []
    lines = [f"{name}=={packages[name]}{_hashes(values)}" for name, values in allowed.items() if name in packages]
    for line in filter(str.strip, found):
        name, _, version = line.partition("==")
        own = () if "--hash=" in line else own_hashes(ask.wanted, ask.folders, name, version.split()[0])
        lines.append(f"{translate_back(line, ask.folders)}{_hashes(own)}")
    return "".join(f"{line}\n" for line in sorted(lines))


def _hashes(values: Iterable[str]) -> str:
    return "".join(f" --hash={value}" for value in values)


@dataclass(frozen=True, slots=True)
class _Question:
    """uv, with everything that the user's file says of where packages come from."""

    layout: Layout
    base: str
    wanted: Requirements
    folders: Mapping[str, Path]
    folder: Path

    def lines(self) -> list[str]:
        return [translate(line, self.folders) for line in self.wanted.wanted]

    def uv(self, command: str, lines: Sequence[str], *options: str) -> str:
        source = _write(self.folder / f"{command}.txt", [*source_lines(self.wanted, self.folders), *lines])
        words = ["pip", command, *(["--requirements"] if command == "install" else []), str(source), *options]
        words += ["--python", str(self.layout.runtime(self.base) / "bin" / "python"), "--only-binary", ":all:"]
        try:
            return run(words, self.wanted, self.layout)
        except uv.UvError as error:
            version, python = split_key(self.base)
            # Not `from error`: uv's words may hold secrets.
            raise explain(error, self.wanted, version, pins(lock_text(version, python)).values()) from None
        finally:
            (self.layout.runtime(self.base) / ".lock").unlink(missing_ok=True)  # uv's own, which anybody could write


def resolve_elsewhere(
    layout: Layout, version: str, python: str, platform: str, wanted: Requirements, folders: Mapping[str, Path]
) -> str:
    """Find the packages for another Python ("3.12") and uv's `platform`; a pylock.toml (PEP 751) with all of them.

    Raises what `resolve` raises.
    """
    with scratch(layout) as folder:
        _write(folder / "constraints.txt", _held(lock_text(version, python), wanted, folders))
        lines = [*source_lines(wanted, folders), *(translate(line, folders) for line in wanted.wanted)]
        words = ["pip", "compile", str(_write(folder / "in.txt", lines))]
        words += ["--constraints", str(folder / "constraints.txt")]
        words += ["--python-version", python, "--python-platform", platform, "--format", "pylock.toml", "--quiet"]
        words += ["--only-binary", ":all:", *(w for s in versions.get(version).sources for w in ("--no-binary", s))]
        try:
            return run(words, wanted, layout)
        except uv.UvError as error:
            raise explain(error, wanted, version, pins(lock_text(version, python)).values()) from None


def _held(lock: str, wanted: Requirements, folders: Mapping[str, Path]) -> list[str]:
    own = tuple(translate(line, folders) for line in wanted.constraints)
    return constraints(lock, own, has_own=wanted.own_constraints)


def _write(path: Path, lines: Sequence[str]) -> Path:
    write_file(path, "".join(f"{line}\n" for line in lines))  # 0600: it may hold secrets
    return path


def source_lines(wanted: Requirements, folders: Mapping[str, Path]) -> list[str]:
    """Where packages come from, as lines of the file that uv reads: never in a command line, which others can see."""
    lines = [f"--index-url {wanted.index}"] if wanted.index else []
    lines += [f"--extra-index-url {url}" for url in wanted.extra_indexes]
    lines += [f"--find-links {translate(place, folders)}" for place in wanted.find_links]
    return [*lines, *(["--no-index"] if wanted.no_index else [])]


def run(words: Sequence[str], wanted: Requirements, layout: Layout) -> str:
    """uv, with the user's rules for choosing and a cache that only those share who name the same sources."""
    cache = cache_of(layout, wanted)
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    choice = ["--index-strategy", "unsafe-best-match"] if wanted.extra_indexes else []  # pip's rule, so MWAA's
    choice += ["--prerelease", "allow"] if wanted.prereleases else []
    return uv.run([*words, *choice], cache=cache, without=_OWN_INDEX if wanted.index else ())

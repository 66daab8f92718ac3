"""requirements.txt as MWAA takes it (mwaa-spec 5.1), turned into what uv is asked for.

uv never sees the user's file, only what is made of it here: a path in it would be read with the rights of whoever runs
uv, and code of a package that must be built would run with them. So paths lead into the environment's own folders, and
packages come as wheels. What a URL carries in front of its host is a secret: it is in what uv reads, nowhere else.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from aerodrome.runtimes.requirement_lines import Line, decode, fault, names_constraints, read_lines

HOME = "/usr/local/airflow"  # where MWAA's containers have the environment's folders; relative paths begin there
PLUGINS, DAGS = f"{HOME}/plugins", f"{HOME}/dags"
FOLDERS = (PLUGINS, DAGS)  # what a path in a requirements.txt may lead to
_DEPTH = 10  # files that include each other
_HARMLESS = frozenset({"--prefer-binary", "--trusted-host", "--use-feature", "--only-binary", "--require-hashes"})
_BUILDS = "would be built from its source, and Aerodrome installs wheels alone"
_WHEEL_ADVICE = "make a wheel of it (`pip wheel`) and put that into plugins.zip"
_QUERY = re.compile(r"://[^\s?#]*\?([^\s#]+)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

Open = Callable[[str], bytes]
"""The content of a file below `HOME`, or of a URL. Raises Permanent (no such file), Temporary (out of reach)."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a requirements.txt asks for. Paths are those in MWAA's containers; URLs may hold secrets."""

    wanted: tuple[str, ...] = field(repr=False)  # lines of PEP 508, or paths and URLs of wheels
    constraints: tuple[str, ...] = field(default=(), repr=False)  # of the user's own
    own_constraints: bool = False  # the file names some: those of Airflow's are not forced
    index: str | None = field(default=None, repr=False)  # instead of the package registry
    extra_indexes: tuple[str, ...] = field(default=(), repr=False)
    find_links: tuple[str, ...] = field(default=(), repr=False)
    no_index: bool = False
    prereleases: bool = False
    hashes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # package -> those the user allows
    notes: tuple[str, ...] = ()  # what a person should know

    @property
    def is_private(self) -> bool:
        """Whether it names sources of its own, so that what comes from there isn't for everybody."""
        return bool(self.index or self.extra_indexes or self.find_links or any("://" in line for line in self.wanted))

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be repeated in a message: longest first."""
        urls = [self.index or "", *self.extra_indexes, *self.find_links, *self.wanted, *self.constraints]
        found = {secret for url in urls for secret in secrets_of(url)}
        return tuple(sorted(found, key=len, reverse=True))


def secrets_of(text: str) -> set[str]:
    """What stands in front of the host of each URL in the text, also decoded, and its query."""
    logins = re.findall(r"://([^/\s]+)@", text)
    parts = {part for login in logins for part in (login, *login.split(":", 1))} | set(_QUERY.findall(text))
    return {variant for part in parts for variant in (part, unquote(part)) if variant}


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """The text without the secrets, and without what stands in front of any URL's host."""
    for secret in secrets:
        if len(secret) > 3:  # `git`, `x`: no secret, and part of many words
            text = text.replace(secret, "****")
    return re.sub(r"://[^/\s]+@", "://****@", text)


def parse(data: bytes, variables: Mapping[str, str], open_file: Open, file: str = "requirements.txt") -> Requirements:
    """Read a requirements.txt. `variables`: what the startup script exports, for `${NAME}`.

    Raises:
        Permanent: a line can't be followed; names the line and what to do.
        Temporary: a constraints file can't be fetched now.
    """
    reader = _Reader(variables, open_file)
    text = decode(data)
    reader.read(text, file, ())
    if not names_constraints(text) and reader.wanted:
        reader.notes.append(
            f"{file} names no constraints, so those of this version of Airflow are used, as on MWAA. "
            "A line with --constraint and a file of your own replaces them."
        )
    return Requirements(
        wanted=tuple(dict.fromkeys(reader.wanted)),
        constraints=tuple(reader.constraints),
        own_constraints=names_constraints(text),
        index=reader.index,
        extra_indexes=tuple(reader.extra_indexes),
        find_links=tuple(reader.find_links),
        no_index=reader.no_index,
        prereleases=reader.prereleases,
        hashes={name: tuple(found) for name, found in reader.hashes.items()},
        notes=tuple(dict.fromkeys(reader.notes)),
    )


class _Reader:
    """Gathers what a file and those it includes say."""

    def __init__(self, variables: Mapping[str, str], open_file: Open) -> None:
        self._variables = variables
        self._open = open_file
        self.wanted: list[str] = []
        self.constraints: list[str] = []
        self.index: str | None = None
        self.extra_indexes: list[str] = []
        self.find_links: list[str] = []
        self.no_index = self.prereleases = False
        self.hashes: dict[str, list[str]] = {}
        self.notes: list[str] = []

    def read(self, text: str, file: str, above: tuple[str, ...]) -> None:
        for line in read_lines(text, self._variables, file):
            if line.requirement:
                self._want(line, file)
            for name, value in line.options:
                if not line.requirement:
                    self._option(name, value, line, file, above)

    def _want(self, line: Line, file: str) -> None:
        name, text = requirement(line, file)
        self.wanted.append(text)
        for option, value in line.options:
            if option == "--hash":
                self.hashes.setdefault(name, []).append(value)
            else:
                raise fault(file, line.number, f"has {option}, which is for building packages: one that {_BUILDS}")

    def _option(self, name: str, value: str, line: Line, file: str, above: tuple[str, ...]) -> None:
        if name == "--index-url":
            self.index = _url(value, line, file)
        elif name == "--extra-index-url":
            self.extra_indexes.append(_url(value, line, file))
        elif name == "--find-links":
            self.find_links.append(location(value, line, file))
        elif name == "--no-index":
            self.no_index = True
        elif name == "--pre":
            self.prereleases = True
        elif name == "--requirement":
            self._include(value, line, file, above)
        elif name == "--constraint":
            self._constrain(value, line, file, ())
        elif name == "--editable":
            raise fault(file, line.number, f"has an editable package, which {_BUILDS}: {_WHEEL_ADVICE}")
        elif name in _HARMLESS:
            if name == "--only-binary":
                return
            self.notes.append(f"Line {line.number} of {file}: {name} makes no difference here.")
        else:
            raise fault(file, line.number, f"has the option {name}, which is not supported; leave it out")

    def _include(self, value: str, line: Line, file: str, above: tuple[str, ...]) -> None:
        path = location(value, line, file)
        if _SCHEME.match(path):
            raise fault(
                file, line.number, "includes a file by its URL; put the file into plugins.zip, or its lines here"
            )
        if path in above or len(above) >= _DEPTH:
            raise fault(file, line.number, f"includes {path}, which includes itself or too many others")
        self.read(decode(self._open(path)), path, (*above, path))

    def _constrain(self, value: str, line: Line, file: str, above: tuple[str, ...]) -> None:
        place = location(value, line, file)
        if place in above or len(above) >= _DEPTH:
            raise fault(file, line.number, "names constraints that name themselves")
        shown = redact(place, ())
        for inner in read_lines(decode(self._open(place)), self._variables, shown):
            if inner.requirement:
                self.constraints.append(requirement(inner, shown)[1])
            for name, further in inner.options:
                if name == "--constraint" and not inner.requirement:
                    self._constrain(further, inner, shown, (*above, place))


def requirement(line: Line, file: str) -> tuple[str, str]:
    """(canonical name, text) of a requirement: PEP 508, or a wheel by its path or URL.

    Raises:
        Permanent: it is neither, or would have to be built.
    """
    text = line.requirement
    head = re.split(r"[\s@\[;]", text, maxsplit=1)[0]
    if "/" in head or ":" in head or head.endswith(".whl"):
        return _wheel(text, line, file)
    try:
        parsed = Requirement(text)
    except InvalidRequirement as error:
        first = redact(str(error).partition("\n")[0].rstrip("."), ())
        raise fault(file, line.number, f"is no requirement: {first}") from None
    name = canonicalize_name(parsed.name)
    if not parsed.url:
        return name, str(parsed)
    marker = f" ; {parsed.marker}" if parsed.marker else ""
    extras = f"[{','.join(sorted(parsed.extras))}]" if parsed.extras else ""
    return name, f"{name}{extras} @ {_wheel_place(parsed.url, line, file)}{marker}"


def _wheel(text: str, line: Line, file: str) -> tuple[str, str]:
    place, semicolon, marker = text.partition(" ;") if " ;" in text else text.partition("; ")
    extras = ""
    if place.rstrip().endswith("]"):
        place, _, extras = place.strip().rpartition("[")
        extras = f"[{extras}"
    place = _wheel_place(place.strip(), line, file)
    try:
        name = parse_wheel_filename(posixpath.basename(unquote(urlsplit(place).path)))[0]
    except InvalidWheelFilename:
        raise fault(file, line.number, "names a file that has no name of a wheel") from None
    return name, f"{name}{extras} @ {place}{f' ; {marker.strip()}' if semicolon else ''}"


def _wheel_place(place: str, line: Line, file: str) -> str:
    if not urlsplit(place).path.endswith(".whl"):
        raise fault(file, line.number, f"has a package that {_BUILDS}: {_WHEEL_ADVICE}")
    found = location(place, line, file)
    return found if _SCHEME.match(found) else f"file://{found}"


def location(value: str, line: Line, file: str) -> str:
    """A URL, or an absolute path below `HOME`.

    Raises:
        Permanent: it leads elsewhere.
    """
    if _SCHEME.match(value) and not value.lower().startswith("file://"):
        return _url(value, line, file)
    path = unquote(urlsplit(value).path) if value.lower().startswith("file:") else value
    found = posixpath.normpath(posixpath.join(HOME, path))
    if not f"{found}/".startswith(tuple(f"{folder}/" for folder in FOLDERS)):
        raise fault(file, line.number, f"names a path that isn't below {' or '.join(FOLDERS)}")
    return found


def _url(value: str, line: Line, file: str) -> str:
    try:
        parts = urlsplit(value)
        if parts.scheme.lower() in ("http", "https") and parts.hostname:
            return urlunsplit(parts)
    except ValueError:
        pass
    raise fault(file, line.number, "needs a URL that begins with https:// or http://")

"""The lines of a requirements.txt, as pip reads them: encoding, continued lines, comments, `${VARIABLE}`, options."""

from __future__ import annotations

import codecs
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aerodrome.errors import Permanent

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_COMMENT = re.compile(r"(^|\s+)#.*$")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_OPTION_BEHIND = re.compile(r"\s(?=--?[A-Za-z])")

_SHORT = {"-c": "--constraint", "-r": "--requirement", "-e": "--editable", "-f": "--find-links", "-i": "--index-url"}
# Those that take a value; the others are switches.
_VALUED = frozenset(
    {
        "--config-setting", "--config-settings", "--constraint", "--editable", "--extra-index-url", "--find-links",
        "--global-option", "--hash", "--index-url", "--no-binary", "--only-binary", "--requirement", "--trusted-host",
        "--use-feature",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One logical line. `number` is of its first line in the file; `requirement` is empty when it has options alone."""

    number: int
    requirement: str
    options: tuple[tuple[str, str], ...]  # long names, with their values ("" for a switch)


def decode(data: bytes) -> str:
    """The text of a file, whatever tool saved it."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def names_constraints(text: str) -> bool:
    """MWAA's rule: a line with `-c ` or `--constraint ` anywhere in it, be it a comment, and the image's own
    constraints are not forced (mwaa-spec 5.1)."""
    return any("-c " in line or "--constraint " in line for line in text.splitlines())


def read_lines(text: str, variables: Mapping[str, str], file: str) -> Iterator[Line]:
    """The lines that say something. `${NAME}` is taken from `variables`, or left as it is, as pip does.

    Raises:
        Permanent: a line can't be read; the message names the file and the line, and never repeats a value.
    """
    for number, joined in _joined(text):
        bare = _COMMENT.sub("", joined).strip()
        filled = _VARIABLE.sub(lambda match: variables.get(match[1]) or match[0], bare)
        if filled:
            yield _line(number, filled, file)


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Lines that end in a backslash with those that they go on in; a comment ends what came before."""
    first, parts = 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not comment:
            first = first or number
            parts.append(line[:-1])
            continue
        yield first or number, "".join([*parts, f" {line}" if comment and parts else line])
        first, parts = 0, []
    if parts:
        yield first, "".join(parts)


def _line(number: int, text: str, file: str) -> Line:
    if text.startswith("-"):
        requirement, options = "", text
    else:
        head, *rest = _OPTION_BEHIND.split(text, maxsplit=1)
        requirement, options = head.strip(), "".join(rest)
    try:
        words = shlex.split(options)
    except ValueError as error:
        raise fault(file, number, f"its options can't be read ({str(error).lower()})") from None
    return Line(number, requirement, tuple(_options(words, number, file)))


def _options(words: list[str], number: int, file: str) -> Iterator[tuple[str, str]]:
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if not word.startswith("--") and word[:2] in _SHORT:
            name, equals, value = word[:2], word[2:].removeprefix("="), word[2:].removeprefix("=")
        name = _SHORT.get(name, name)
        if not name.startswith("--"):
            raise fault(file, number, "has a word where an option should be")
        if name in _VALUED and not equals:
            value = next(rest, "")
        if name in _VALUED and not value:
            raise fault(file, number, f"gives {name} no value")
        yield name, value


def fault(file: str, number: int, what: str) -> Permanent:
    return Permanent(f"Line {number} of {file} {what}.")

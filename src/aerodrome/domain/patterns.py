"""Patterns of IAM policies: wildcards, policy variables, ARNs, and a logic that knows "can't tell".

A result is True, False or None. None means that the policy can't be read there: it never allows, and it still denies.
Matching takes time in proportion to pattern times text, never more: policies come from users.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import lru_cache

Context = Mapping[str, tuple[str, ...]]  # condition keys in lower case, their values as text

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_DEFAULT = re.compile(r"\s*([^,]*?)\s*,\s*'([^']*)'\s*")
_ARN_PARTS = 6
_LONGEST_KEPT = 256  # characters


class Wild(Enum):
    """What a pattern has besides literal characters. SEPARATOR is a colon that was written, not substituted."""

    MANY = "*"
    ONE = "?"
    SEPARATOR = ":"


Pattern = Sequence[str | Wild]


def any_of(results: Iterable[bool | None]) -> bool | None:
    """True when one is True, else None when one is None."""
    found: bool | None = False
    for result in results:
        if result:
            return True
        if result is None:
            found = None
    return found


def all_of(results: Iterable[bool | None]) -> bool | None:
    """False when one is False, else None when one is None."""
    found: bool | None = True
    for result in results:
        if result is False:
            return False
        if result is None:
            found = None
    return found


def negated(result: bool | None) -> bool | None:
    return None if result is None else not result


def parse(text: str, variables: Context | None, *, wildcards: bool = True) -> Pattern | None:
    """The pattern, with `${...}` substituted unless `variables` is None; None when a variable has no single value.

    What is substituted is literal: a tag's value can't bring in a wildcard or one more part of an ARN.
    """
    if variables is None or "${" not in text:
        return _literal(text, wildcards) if len(text) > _LONGEST_KEPT else _kept(text, wildcards)
    pattern: list[str | Wild] = []
    position = 0
    for match in _VARIABLE.finditer(text):
        pattern += _literal(text[position : match.start()], wildcards)
        value = _value(match.group(1), variables)
        if value is None:
            return None
        pattern += value
        position = match.end()
    return pattern + _literal(text[position:], wildcards)


# Policies say the same for every request. What is kept is bounded: they come from users.
@lru_cache(maxsize=1024)
def _kept(text: str, wildcards: bool) -> Pattern:
    return _condensed(_literal(text, wildcards))


def _condensed(pattern: list[str | Wild]) -> Pattern:
    """A text, where it is nothing but that."""
    return pattern if any(isinstance(sign, Wild) for sign in pattern) else "".join(map(str, pattern))


def _literal(text: str, wildcards: bool) -> list[str | Wild]:
    signs: Mapping[str, Wild] = {"*": Wild.MANY, "?": Wild.ONE, ":": Wild.SEPARATOR} if wildcards else {}
    return [signs.get(character, character) for character in text]


def _value(name: str, variables: Context) -> str | None:
    if name in ("*", "?", "$"):
        return name
    default = None
    if with_default := _DEFAULT.fullmatch(name):
        name, default = with_default.groups()
    values = variables.get(name.strip().lower(), ())
    return values[0] if len(values) == 1 else default


def matches(pattern: Pattern, text: str) -> bool:
    """Whether the whole text has the pattern's form."""
    if isinstance(pattern, str):
        return pattern == text
    at = star = mark = 0
    has_star = False
    position = 0
    while position < len(text):
        if at < len(pattern) and pattern[at] is Wild.MANY:
            if at == len(pattern) - 1:
                return True
            has_star, star, mark = True, at, position
            at += 1
        elif at < len(pattern) and _fits(pattern[at], text[position]):
            at += 1
            position += 1
        elif has_star:
            mark += 1
            at, position = star + 1, mark
        else:
            return False
    return all(sign is Wild.MANY for sign in pattern[at:])


def _fits(sign: str | Wild, character: str) -> bool:
    if isinstance(sign, str):
        return sign == character
    return sign is Wild.ONE or (sign is Wild.SEPARATOR and character == ":")


def arn_matches(text: str, arn: str, variables: Context | None, missing: bool | None) -> bool | None:
    """Whether an ARN has a condition's form, part by part: a wildcard doesn't reach over a colon, but in the last.

    A pattern of fewer than six parts must end in `*`, which then stands for the rest. `missing` is the answer when a
    variable has no value; None is the answer to a pattern that is no ARN's.
    """
    if text and not text.strip("*"):
        return True
    parts = _parts(text, variables)
    if parts is None:
        return missing
    if len(parts) < _ARN_PARTS:
        if not _is_open(parts[-1]):
            return None
        parts = [*parts, *[[Wild.MANY]] * (_ARN_PARTS - len(parts))]
    found = arn.split(":", _ARN_PARTS - 1)
    return len(found) == _ARN_PARTS and all(matches(part, text) for part, text in zip(parts, found, strict=True))


def resource_matches(text: str, arn: str, variables: Context | None, missing: bool | None) -> bool | None:
    """Whether an ARN has a `Resource`'s form: as in `arn_matches`, but that a `*` which ends a part may reach further.

    "If the * wildcard is the last character of a resource ARN segment, it can expand to match beyond the colon
    boundaries" (IAM's reference of the Resource element): `arn:aws:airflow:*:environment/x` names one in any account.
    """
    if text and not text.strip("*"):
        return True
    parts = _parts(text, variables)
    if parts is None:
        return missing
    if len(parts) < _ARN_PARTS and not any(map(_is_open, parts)):
        return None
    found = arn.split(":")
    return len(found) >= _ARN_PARTS and _reaches(parts, found)


def _reaches(parts: Sequence[Pattern], found: Sequence[str]) -> bool:
    """Whether the pattern's parts cover those of an ARN, each one of them, or several if it ends in `*`."""
    starts = {0}  # where the part at hand may begin
    *others, last = parts
    for part in others:
        fit = {start for start in starts if start < len(found) and matches(part, found[start])}
        starts = {start + 1 for start in fit}
        if fit and _is_open(part):
            starts |= set(range(min(fit) + 1, len(found)))
    return any(_covers(last, found, start) for start in starts if start < len(found))


def _covers(last: Pattern, found: Sequence[str], start: int) -> bool:
    """Whether a pattern's last part covers all that is left. What follows an ARN's fifth colon is one part."""
    if start >= _ARN_PARTS - 1:
        return matches(last, ":".join(found[start:]))
    return _is_open(last) and matches(last, found[start])


def _is_open(part: Pattern) -> bool:
    return bool(part) and part[-1] is Wild.MANY


def _parts(text: str, variables: Context | None) -> Sequence[Pattern] | None:
    """The parts of an ARN's pattern, six at most; None when a variable has no single value."""
    if len(text) <= _LONGEST_KEPT and (variables is None or "${" not in text):
        return _kept_parts(text)
    pattern = parse(text, variables)
    return None if pattern is None else _split(pattern)


@lru_cache(maxsize=1024)
def _kept_parts(text: str) -> Sequence[Pattern]:
    return [_condensed(part) for part in _split(_literal(text, wildcards=True))]


def _split(pattern: Pattern) -> list[list[str | Wild]]:
    parts: list[list[str | Wild]] = [[]]
    for sign in pattern:
        if sign is Wild.SEPARATOR and len(parts) < _ARN_PARTS:
            parts.append([])
        else:
            parts[-1].append(sign)
    return parts

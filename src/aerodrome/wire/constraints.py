"""The model's constraints on an operation's parameters, all failures in one `ValidationException`.

botocore's own validator looks at `required`, types and `min` alone; here are `max`, `pattern` and `enum` too. The
message has the form that AWS's services give:

    2 validation errors detected: Value 'a b' at 'name' failed to satisfy constraint: Member must satisfy regular
    expression pattern: [a-zA-Z][0-9a-zA-Z-_]*; Value null at 'dagS3Path' failed to satisfy constraint: ...

What is `sensitive` in the model is never repeated. Lengths count characters (code points), as Smithy says.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import regex
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

from aerodrome.errors import ApiError, validation_error
from aerodrome.wire.values import lower_first

_SHOWN_VALUE = 200  # characters of a refused value that a message repeats
_SHOWN_FAILURES = 50  # failures that a message spells out; the count is of all
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "character": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "blob": (bytes, bytearray),
    "timestamp": (datetime,),
    "structure": (Mapping,),
    "map": (Mapping,),
    "list": (list, tuple),
}


class Failures:
    """What was found wrong so far."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._count = 0

    def add(self, shown: str, path: str, rule: str) -> None:
        """`shown` is how the value is spelled in the message, with a blank behind it, or nothing."""
        self._count += 1
        if self._count <= _SHOWN_FAILURES:
            self._texts.append(f"Value {shown}at '{path}' failed to satisfy constraint: {rule}")

    def error(self) -> ApiError | None:
        """One error for all, or None."""
        if not self._count:
            return None
        noun = "error" if self._count == 1 else "errors"
        more = f"; and {self._count - _SHOWN_FAILURES} more" if self._count > _SHOWN_FAILURES else ""
        return validation_error(f"{self._count} validation {noun} detected: {'; '.join(self._texts)}{more}")


def check(shape: Shape, value: object, path: str, hidden: bool, failures: Failures) -> None:
    """Add to `failures` whatever in `value` the shape forbids. `hidden`: something around it is sensitive."""
    hidden = hidden or bool(shape.metadata.get("sensitive"))
    if isinstance(shape, StructureShape) and shape.is_document_type:
        return
    if not _has_type(shape, value):
        failures.add("", path, f"Member must be of type {shape.type_name}")
    elif isinstance(shape, StructureShape):
        _check_structure(shape, value, path, hidden, failures)
    elif isinstance(shape, MapShape):
        _check_map(shape, value, path, hidden, failures)
    elif isinstance(shape, ListShape):
        _check_list(shape, value, path, hidden, failures)
    else:
        for rule in _broken_rules(shape, value):
            failures.add(_shown(value, hidden), path, rule)


def _has_type(shape: Shape, value: object) -> bool:
    if isinstance(value, bool) and shape.type_name != "boolean":
        return False
    return isinstance(value, _TYPES.get(shape.type_name, (object,)))


def _check_structure(shape: StructureShape, value: Any, path: str, hidden: bool, failures: Failures) -> None:
    for name, member in shape.members.items():
        inner = f"{path}.{lower_first(name)}" if path else lower_first(name)
        found = value.get(name)
        if found is not None:
            check(member, found, inner, hidden, failures)
        elif name in shape.required_members:
            failures.add("null ", inner, "Member must not be null")


def _check_map(shape: MapShape, value: Any, path: str, hidden: bool, failures: Failures) -> None:
    if _has_wrong_size(shape, value, path, failures):
        return
    for key, entry in value.items():
        bad = _broken_rules(shape.key, key)
        if bad:
            failures.add(_shown(key, hidden), path, f"Map keys must satisfy constraint: [{', '.join(bad)}]")
        # A key that has the form of a key is a name; one that hasn't could be anything, a secret in the wrong place.
        named = f"{path}.{key}.member" if not bad else f"{path}.value"
        check(shape.value, entry, named, hidden, failures)


def _check_list(shape: ListShape, value: Any, path: str, hidden: bool, failures: Failures) -> None:
    if _has_wrong_size(shape, value, path, failures):
        return
    for number, item in enumerate(value, 1):
        check(shape.member, item, f"{path}.{number}.member", hidden, failures)


def _has_wrong_size(shape: Shape, value: Any, path: str, failures: Failures) -> bool:
    """A list or map of the wrong size is reported as that alone: its thousand members needn't be read."""
    rules = _size_rules(shape, len(value), "length")
    for rule in rules:
        failures.add("", path, rule)
    return bool(rules)


def _broken_rules(shape: Shape, value: Any) -> list[str]:
    if isinstance(value, str):
        return _broken_text_rules(shape, value)
    if isinstance(value, bytes | bytearray):
        return _size_rules(shape, len(value), "length")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _size_rules(shape, value, "value")
    return []


def _broken_text_rules(shape: Shape, value: str) -> list[str]:
    rules = _size_rules(shape, len(value), "length")
    if "\0" in value:
        rules.append("Member must not contain the null character")  # AWS may take it; PostgreSQL can't store it
    enum = shape.enum if isinstance(shape, StringShape) else []
    if enum and value not in enum:
        rules.append(f"Member must satisfy enum value set: [{', '.join(enum)}]")
    pattern = shape.metadata.get("pattern")
    # What is too long is not matched: some of AWS's patterns take cubic time on a long near miss.
    if pattern and len(value) <= shape.metadata.get("max", len(value)) and not compiled(pattern).fullmatch(value):
        rules.append(f"Member must satisfy regular expression pattern: {pattern}")
    return rules


def _size_rules(shape: Shape, size: float, word: str) -> list[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    rules = []
    if most is not None and size > most:
        rules.append(f"Member must have {word} less than or equal to {most}")
    if least is not None and size < least:
        rules.append(f"Member must have {word} greater than or equal to {least}")
    return rules


def _shown(value: object, hidden: bool) -> str:
    if hidden:
        return ""
    text = str(value)
    text = text if len(text) <= _SHOWN_VALUE else f"{text[:_SHOWN_VALUE]}..."
    return f"'{text}' "


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> regex.Pattern[str]:
    r"""A pattern of the model, as the services' own language (Java) reads it.

    `\d`, `\w` and `\s` are ASCII there while `\p{L}` is Unicode; Python's flag would turn all of them at once.
    Partitions may have two words here: MWAA isn't in `aws-us-gov`, and its patterns leave that one out.
    """
    pattern = pattern.replace(_PARTITION, _ANY_PARTITION)
    result = ""
    in_class = False
    position = 0
    while position < len(pattern):
        piece = pattern[position : position + 2] if pattern[position] == "\\" else pattern[position]
        position += len(piece)
        if piece == "[":
            in_class = True
        elif piece == "]":
            in_class = False
        inner = _ASCII_CLASSES.get(piece)
        result += piece if inner is None else inner if in_class else f"[{inner}]"
    return regex.compile(result)


_PARTITION, _ANY_PARTITION = "arn:aws(-[a-z]+)?:", "arn:aws(-[a-z]+)*:"
_ASCII_CLASSES: Mapping[str, str] = {"\\d": "0-9", "\\w": "a-zA-Z0-9_", "\\s": " \\t\\n\\x0b\\f\\r"}

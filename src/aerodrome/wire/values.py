"""One value of the protocol at a time: JSON and strings to Python, and back.

Python's side is what botocore's clients use too: str, int, float, bool, bytes, aware datetime, dict, list.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache, partial
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from aerodrome.errors import ApiError

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_BITS = {"integer": 32, "long": 64}
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SHAPES = 4096  # shapes whose writers are kept; a service has some hundreds
_WORDS = {
    str: "STRING_VALUE",
    int: "NUMBER_VALUE",
    float: "DECIMAL_VALUE",
    list: "START_ARRAY",
    dict: "START_OBJECT",
    type(None): "NULL_VALUE",
}


def serialization_error(message: str) -> ApiError:
    """AWS's answer to a request that can't be read at all, before any constraint is looked at."""
    return ApiError("SerializationException", message, 400)


def from_json(shape: Shape, value: object, path: str) -> Any:
    """A JSON value as the shape's Python value; unknown members are dropped, null members are absent.

    Raises:
        ApiError: `SerializationException`, naming the member's path, never its value.
    """
    if isinstance(shape, StructureShape):
        if shape.is_document_type:
            return value
        return _structure(shape, _expect(value, dict, "a structure", path), path)
    if isinstance(shape, ListShape):
        items = _expect(value, list, "a list", path)
        return [from_json(shape.member, item, _join(path, f"{n}.member")) for n, item in enumerate(items, 1)]
    if isinstance(shape, MapShape):
        entries = _expect(value, dict, "a map", path)
        return {key: from_json(shape.value, entry, _join(path, "value")) for key, entry in entries.items()}
    return _SCALARS.get(shape.type_name, _string)(shape, value, path)


def _structure(shape: StructureShape, value: Mapping[str, Any], path: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, member in shape.members.items():
        found = value.get(member.serialization.get("name", name))
        if found is not None:
            result[name] = from_json(member, found, _join(path, lower_first(name)))
    return result


def _expect(value: object, kind: type[Any], wanted: str, path: str) -> Any:
    if isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool):
        return value
    found = "BOOLEAN_VALUE" if isinstance(value, bool) else _WORDS.get(type(value), type(value).__name__)
    raise serialization_error(f"{found} can not be converted to {wanted}{_at(path)}")


def _string(_: Shape, value: object, path: str) -> str:
    return str(_expect(value, str, "a String", path))


def _boolean(_: Shape, value: object, path: str) -> bool:
    return bool(_expect(value, bool, "a Boolean", path))


def _integer(shape: Shape, value: object, path: str) -> int:
    number = int(_expect(value, int, "an Integer", path))
    if not -(2 ** (_BITS[shape.type_name] - 1)) <= number < 2 ** (_BITS[shape.type_name] - 1):
        raise serialization_error(f"NUMBER_VALUE is out of range{_at(path)}")
    return number


def _float(_: Shape, value: object, path: str) -> float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise serialization_error(f"NUMBER_VALUE is out of range{_at(path)}") from None
    return float(_expect(value, float, "a Double", path))


def _blob(_: Shape, value: object, path: str) -> bytes:
    text = _expect(value, str, "a Blob", path)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise serialization_error(f"STRING_VALUE is not base64{_at(path)}") from None


def _timestamp(shape: Shape, value: object, path: str) -> datetime:
    style = shape.serialization.get("timestampFormat", "unixTimestamp")
    if style != "unixTimestamp":
        return timestamp_from_text(style, str(_expect(value, str, "a Timestamp", path)), path)
    if isinstance(value, bool) or not isinstance(value, int | float):
        _expect(value, float, "a Timestamp", path)
    return _epoch(value, path)


def _epoch(value: Any, path: str) -> datetime:
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise serialization_error(f"The timestamp is out of range{_at(path)}") from None


_SCALARS: Mapping[str, Callable[[Shape, object, str], Any]] = {
    "string": _string,
    "character": _string,
    "boolean": _boolean,
    "integer": _integer,
    "long": _integer,
    "float": _float,
    "double": _float,
    "blob": _blob,
    "timestamp": _timestamp,
}


def from_text(shape: Shape, text: str, path: str, timestamps: str) -> Any:
    """A path label, query parameter or header as the shape's Python value. `timestamps`: the place's own format.

    Raises:
        ApiError: `SerializationException`.
    """
    kind = shape.type_name
    if kind == "boolean":
        if text not in ("true", "false"):
            raise serialization_error(f"The value can not be converted to a Boolean{_at(path)}")
        return text == "true"
    if kind in _BITS:
        if not _INTEGER.fullmatch(text):
            raise serialization_error(f"The value can not be converted to an Integer{_at(path)}")
        return _integer(shape, int(text), path)
    if kind in ("float", "double"):
        if text not in _NOT_FINITE and not _NUMBER.fullmatch(text):
            raise serialization_error(f"The value can not be converted to a Double{_at(path)}")
        return float(text)
    if kind == "timestamp":
        return timestamp_from_text(shape.serialization.get("timestampFormat", timestamps), text, path)
    if kind == "blob":
        return _blob(shape, text, path)
    return text


def timestamp_from_text(style: str, text: str, path: str) -> datetime:
    """`style` is one of the model's `timestampFormat` values."""
    try:
        if style == "unixTimestamp":
            return _epoch(float(text), path)
        found = parsedate_to_datetime(text) if style == "rfc822" else datetime.fromisoformat(text)
    except ValueError:
        raise serialization_error(f"The value can not be converted to a Timestamp{_at(path)}") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def to_json(shape: Shape, value: Any) -> Any:
    """The shape's Python value as JSON; None is left out of structures, maps and lists.

    Raises:
        ValueError: the value has a member that the shape hasn't: our mistake, never the caller's.
    """
    return _writer(shape)(value)


def structure_to_json(shape: StructureShape, value: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a structure that are set, by their names on the wire."""
    members = _members(shape)
    if not value.keys() <= members.keys():
        unknown = sorted(value.keys() - members.keys())
        raise ValueError(f"the model's shape {shape.name} has no member {', '.join(unknown)}")
    result: dict[str, Any] = {}
    for name, item in value.items():
        if item is not None:
            key, writer = members[name]
            result[key] = writer(item)
    return result


# A shape's writer is found once: asking the model anew for every member of every answer was half of an answer's cost.
@lru_cache(maxsize=_SHAPES)
def _members(shape: StructureShape) -> Mapping[str, tuple[str, Callable[[Any], Any]]]:
    """Member -> its name on the wire, and what writes it."""
    return {name: (member.serialization.get("name", name), _writer(member)) for name, member in shape.members.items()}


@lru_cache(maxsize=_SHAPES)
def _writer(shape: Shape) -> Callable[[Any], Any]:
    if isinstance(shape, StructureShape):
        return _as_it_is if shape.is_document_type else partial(structure_to_json, shape)
    if isinstance(shape, ListShape):
        return partial(_list_to_json, shape)
    if isinstance(shape, MapShape):
        return partial(_map_to_json, shape)
    if shape.type_name == "timestamp":
        return partial(_timestamp_to_json, shape)
    if shape.type_name == "blob":
        return _blob_to_json
    return _scalar_to_json


def _as_it_is(value: Any) -> Any:
    return value


def _list_to_json(shape: ListShape, value: Iterable[Any]) -> list[Any]:
    writer = _writer(shape.member)
    return [writer(item) for item in value if item is not None]


def _map_to_json(shape: MapShape, value: Mapping[str, Any]) -> dict[str, Any]:
    writer = _writer(shape.value)
    return {key: writer(item) for key, item in value.items() if item is not None}


def _blob_to_json(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _scalar_to_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return next(word for word, known in _NOT_FINITE.items() if str(known) == str(value))
    return value


def _timestamp_to_json(shape: Shape, value: datetime) -> Any:
    style = shape.serialization.get("timestampFormat", "unixTimestamp")
    if style != "unixTimestamp":
        return timestamp_to_text(style, value)
    seconds = round(value.timestamp(), 3)  # AWS gives milliseconds at most
    return int(seconds) if seconds.is_integer() else seconds


def timestamp_to_text(style: str, value: datetime) -> str:
    """`style` is one of the model's `timestampFormat` values."""
    if style == "rfc822":
        return format_datetime(value.astimezone(UTC), usegmt=True)
    if style == "unixTimestamp":
        return str(int(value.timestamp()))
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def lower_first(name: str) -> str:
    """AWS names members in messages with a lower-case first letter: `dagS3Path`."""
    return name[:1].lower() + name[1:]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _at(path: str) -> str:
    return f" at '{path}'" if path else ""

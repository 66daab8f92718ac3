"""From the parts of an HTTP request to an operation's parameters, in AWS spelling (rest-json).

Content-Type isn't looked at: a body is JSON whatever it is called, as curl's `-d` would otherwise need a header for
every call. That is safe here because a request counts by its signature, which a browser can't be tricked into.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from aerodrome.wire.values import from_json, from_text, lower_first, serialization_error

_DEPTH = 200  # lists and objects within each other: what writes them again further on can follow
_LONE = re.compile(rb"\\u[dD][89a-fA-F]")  # the escape of half a surrogate pair


def parse_request(
    operation: OperationModel, labels: Mapping[str, str], raw_query: str, headers: Mapping[str, str], body: bytes
) -> dict[str, Any]:
    """The operation's parameters; those that weren't sent are absent.

    Raises:
        ApiError: `SerializationException`, 400: the body isn't a JSON object, or a value has the wrong type.
    """
    shape = operation.input_shape
    if not isinstance(shape, StructureShape):
        return {}
    query = _query(raw_query)
    lowered = {name.lower(): value for name, value in headers.items()}
    found: dict[str, Any] = {}
    for name, member in shape.members.items():
        value = _from_place(name, member, labels, query, lowered)
        if value is not None:
            found[name] = value
    found.update(_from_body(shape, body))
    return found


def _query(raw_query: str) -> dict[str, list[str]]:
    if not raw_query:
        return {}
    if not raw_query.isascii():
        raise serialization_error("The query string isn't percent-encoded.")
    try:
        pairs = parse_qsl(raw_query, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError:
        raise serialization_error("The query string has too many fields or isn't percent-encoded UTF-8.") from None
    query: dict[str, list[str]] = {}
    for name, value in pairs:
        query.setdefault(name, []).append(value)
    return query


def _from_place(
    name: str, member: Shape, labels: Mapping[str, str], query: Mapping[str, list[str]], headers: Mapping[str, str]
) -> Any:
    """A member that travels outside of the body, or None."""
    location = member.serialization.get("location")
    key = member.serialization.get("name", name)
    path = lower_first(name)
    if location == "uri" and key in labels:
        return from_text(member, labels[key], path, "iso8601")
    if location == "querystring":
        return _from_query(member, key, query, path)
    if location == "header" and key.lower() in headers:
        return _from_header(member, headers[key.lower()], path)
    if location == "headers":
        prefix = key.lower()
        return {n.removeprefix(prefix): v for n, v in headers.items() if n.startswith(prefix)} or None
    return None


def _from_query(member: Shape, key: str, query: Mapping[str, list[str]], path: str) -> Any:
    if isinstance(member, MapShape):
        several = isinstance(member.value, ListShape)
        return {name: values if several else values[0] for name, values in query.items()} or None
    if key not in query:
        return None
    if isinstance(member, ListShape):
        return [from_text(member.member, text, f"{path}.{n}.member", "iso8601") for n, text in enumerate(query[key], 1)]
    return from_text(member, query[key][0], path, "iso8601")


def _from_header(member: Shape, text: str, path: str) -> Any:
    if isinstance(member, ListShape):
        items = [item.strip() for item in text.split(",")]
        return [from_text(member.member, item, f"{path}.{n}.member", "rfc822") for n, item in enumerate(items, 1)]
    return from_text(member, text, path, "rfc822")


def _from_body(shape: StructureShape, body: bytes) -> dict[str, Any]:
    payload = shape.serialization.get("payload")
    if payload is not None:
        return _from_payload(payload, shape.members[payload], body)
    wanted = {name: member for name, member in shape.members.items() if "location" not in member.serialization}
    if not wanted or not body.strip():
        return {}
    document = load_json(body)
    if not isinstance(document, dict):
        raise serialization_error("The request body must be a JSON object.")
    found: dict[str, Any] = {}
    for name, member in wanted.items():
        value = document.get(member.serialization.get("name", name))
        if value is not None:
            found[name] = from_json(member, value, lower_first(name))
    return found


def _from_payload(name: str, member: Shape, body: bytes) -> dict[str, Any]:
    if member.type_name == "blob":
        return {name: body} if body else {}
    if not body.strip():
        return {}
    if member.type_name == "string":
        return {name: _text(body)}
    return {name: from_json(member, load_json(body), lower_first(name))}


def load_json(body: bytes) -> Any:
    """Strict JSON: UTF-8, finite numbers, no lone surrogate (nothing behind us can store one), bounded depth.

    Of a key that comes twice the last one counts, as with AWS's own parsers.

    Raises:
        ApiError: `SerializationException`, saying where the JSON breaks.
    """
    try:
        document = json.loads(_text(body), parse_constant=_refuse, parse_float=_finite)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise serialization_error(f"The request body is not JSON: {error.msg} at {where}.") from None
    except (ValueError, RecursionError):
        raise serialization_error("The request body is not JSON: a number or the nesting is out of range.") from None
    if _depth(document) > _DEPTH:
        raise serialization_error(f"The request body is nested deeper than {_DEPTH} levels.")
    if _LONE.search(body) and not _is_text(document):
        raise serialization_error("The request body is not JSON: a string holds half of a surrogate pair.")
    return document


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise serialization_error("The request body is not UTF-8.") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _finite(digits: str) -> float:
    """Raises: ValueError for a number that no double holds."""
    number = float(digits)
    if math.isinf(number):
        raise ValueError(digits)
    return number


def _depth(document: object) -> int:
    """How many lists and objects lie within each other; counted no further than one more than may."""
    depth, level = 0, [document] if isinstance(document, list | dict) else []
    while level and depth <= _DEPTH:
        depth += 1
        level = [
            entry
            for item in level
            for entry in (item.values() if isinstance(item, dict) else item)
            if isinstance(entry, list | dict)
        ]
    return depth


def _is_text(document: object) -> bool:
    """Whether every string in it can be written as UTF-8."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True

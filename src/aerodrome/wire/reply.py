"""From an operation's output, or an error, to the parts of an HTTP answer (rest-json)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from botocore.model import ListShape, OperationModel, ServiceModel, Shape, StructureShape

from aerodrome.errors import ApiError
from aerodrome.wire.values import structure_to_json, timestamp_to_text, to_json

_JSON = "application/json"
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer: status, headers by name (lower case, but for those that the model names), body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def output_reply(operation: OperationModel, output: Mapping[str, Any], request_id: str | None) -> Reply:
    """The answer to a call that went well. Members that are None are left out.

    Raises:
        ValueError: `output` has a member that the model doesn't know.
    """
    shape = operation.output_shape
    status = int(operation.http.get("responseCode", 200))
    headers = {"content-type": _JSON}
    if request_id is not None:
        headers["x-amzn-requestid"] = request_id
    if not isinstance(shape, StructureShape):
        return Reply(status, headers, b"{}")
    inside = dict(output)
    for name, member in _outside_of_body(shape):
        value = inside.pop(name, None)
        if value is None:
            continue
        if member.serialization["location"] == "statusCode":
            status = int(value)
        else:
            headers.update(_headers(name, member, value))
    payload = shape.serialization.get("payload")
    if payload is None:
        return Reply(status, headers, _dump(structure_to_json(shape, inside)))
    value = inside.get(payload)
    return Reply(status, headers, b"" if value is None else _payload(shape.members[payload], value))


@lru_cache(maxsize=1024)
def _outside_of_body(shape: StructureShape) -> Sequence[tuple[str, Shape]]:
    return [(name, member) for name, member in shape.members.items() if "location" in member.serialization]


def _headers(name: str, member: Shape, value: Any) -> dict[str, str]:
    key = member.serialization.get("name", name)
    if member.serialization["location"] == "headers":
        return {key + suffix: str(text) for suffix, text in value.items()}
    if isinstance(member, ListShape):
        return {key: ",".join(map(str, value))}
    if isinstance(value, bool):
        return {key: str(value).lower()}
    if isinstance(value, datetime):
        return {key: timestamp_to_text(member.serialization.get("timestampFormat", "rfc822"), value)}
    return {key: str(value)}


def _payload(member: Shape, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else _dump(to_json(member, value))


def error_reply(model: ServiceModel, error: ApiError, request_id: str) -> Reply:
    """An error as AWS spells it (mwaa-spec 1.1).

    The message's member is the one the model has for this error (`Message` of AccessDenied, `message` else). Where the
    model has none, as in the two RestApi errors, it is sent besides: every client shows it, none trips over it.
    """
    shape = model.shape_for_error_code(error.code)  # type: ignore[arg-type]  # the stubs say int, wrongly
    body: dict[str, Any] = {}
    status = error.status
    spelling = "message"
    if isinstance(shape, StructureShape):
        known = {name: value for name, value in error.members.items() if name in shape.members}
        body.update(structure_to_json(shape, known))
        status = int(shape.metadata.get("error", {}).get("httpStatusCode", status))
        spelling = next((name for name in shape.members if name.lower() == "message"), spelling)
    body[spelling] = error.message
    headers = {"content-type": _JSON, "x-amzn-errortype": error.code, "x-amzn-requestid": request_id}
    return Reply(status, headers, _dump(body))


def _dump(value: object) -> bytes:
    return _ENCODER.encode(value).encode("ascii")

"""From an HTTP method and a raw path to an operation of the model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from botocore.model import ServiceModel

from aerodrome.errors import ApiError

_LABEL = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Match:
    """An operation, and the path labels by the name they have in the template, percent-decoded once."""

    operation: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Route:
    operation: str
    method: str
    path: re.Pattern[str]
    labels: tuple[str, ...]
    query: frozenset[tuple[str, str]]  # constants that the template's own query string asks for
    weight: tuple[int, int]


class Routes:
    """The routes of one service, taken from its `http.requestUri` templates."""

    def __init__(self, model: ServiceModel) -> None:
        routes = [_route(name, model.operation_model(name).http) for name in model.operation_names]
        self._routes = sorted(routes, key=lambda route: route.weight, reverse=True)

    def match(self, method: str, path: str, query: str) -> Match:
        """The operation that a request names.

        The path is matched as it came over the wire, so that an encoded slash inside a label doesn't split it.

        Raises:
            ApiError: `UnknownOperationException`, 404 when no operation has the path, 405 when one has it for
                another method; `SerializationException`, 400 when a label isn't UTF-8.
        """
        path, method = path.partition("?")[0], method.upper()
        pairs = set(parse_qsl(query, keep_blank_values=True)) if query else set()
        for route in self._routes:
            if route.method == method and route.query <= pairs and (hit := route.path.fullmatch(path)):
                return Match(route.operation, dict(zip(route.labels, map(_decode, hit.groups()), strict=True)))
        allowed = {route.method for route in self._routes if route.query <= pairs and route.path.fullmatch(path)}
        if allowed:
            methods = ", ".join(sorted(allowed))
            raise ApiError("UnknownOperationException", f"This path takes {methods}, not {method}.", 405)
        raise ApiError("UnknownOperationException", "No operation of this service has this method and path.", 404)


def _route(operation: str, http: Mapping[str, str]) -> _Route:
    template, _, constants = http["requestUri"].partition("?")
    labels: list[str] = []
    pattern = ""
    position = 0
    for label in _LABEL.finditer(template):
        pattern += re.escape(template[position : label.start()])
        position = label.end()
        name = label.group(1)
        labels.append(name.removesuffix("+"))
        pattern += "(.+)" if _is_greedy(name, last=position == len(template)) else "([^/]+)"
    pattern += re.escape(template[position:])
    query = frozenset(parse_qsl(constants, keep_blank_values=True))
    literals = len(_LABEL.sub("", template))
    return _Route(
        operation=operation,
        method=http["method"].upper(),
        path=re.compile(pattern, re.DOTALL),
        labels=tuple(labels),
        query=query,
        weight=(len(query), literals),
    )


def _is_greedy(name: str, last: bool) -> bool:
    """`{Key+}` is greedy by the model; a last label that holds an ARN is by need: clients send its slash bare too."""
    return name.endswith("+") or (last and name.lower().endswith("arn"))


def _decode(label: str) -> str:
    try:
        return unquote(label.encode("latin-1"), errors="strict")
    except UnicodeError:
        raise ApiError("SerializationException", "The path is not valid percent-encoded UTF-8.", 400) from None

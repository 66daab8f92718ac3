"""The protocol of one AWS service, driven by the model that ships with botocore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel, StructureShape

from aerodrome.errors import ApiError
from aerodrome.wire.constraints import Failures, check
from aerodrome.wire.reply import Reply, error_reply, output_reply
from aerodrome.wire.request import parse_request
from aerodrome.wire.routes import Match, Routes

_KEPT = 512  # requests that are remembered, and characters of path and query that one of them may have


class Wire:
    """Match, parse, validate and serialise for one service; reads the model once, keeps the requests it read last.

    Only rest-json is spoken. `service_name` is botocore's name of the service: `mwaa`. `longest` maps shapes to the
    `max` that they have here instead of the model's.
    """

    def __init__(self, service_name: str, longest: Mapping[str, int] = MappingProxyType({})) -> None:
        # The package's own data alone: a file in ~/.aws/models must not change what we serve.
        loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
        description = loader.load_service_model(service_name, "service-2")
        changed = {name: {**description["shapes"][name], "max": most} for name, most in longest.items()}
        description = {**description, "shapes": {**description["shapes"], **changed}}  # the loader's own stays whole
        self._model = ServiceModel(description, service_name)
        if self._model.resolved_protocol != "rest-json":
            raise ValueError(f"{service_name} speaks {self._model.resolved_protocol}; this wire speaks rest-json alone")
        self._routes = Routes(self._model)
        self._has_headers = any(map(self._reads_headers, self._model.operation_names))
        self._read_known = lru_cache(maxsize=_KEPT)(self._read)

    @property
    def signing_name(self) -> str:
        """The service's name in a signature's scope: `airflow`."""
        return self._model.signing_name

    @property
    def operations(self) -> tuple[str, ...]:
        return tuple(self._model.operation_names)

    def read(
        self, method: str, raw_path: bytes, raw_query: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> tuple[Match, dict[str, Any]]:
        """Match, parse and validate. Clients poll: what a path and a query alone ask for is worked out once.

        Raises:
            ApiError: as `match`, `parse` and `validate`.
        """
        if not body and not self._has_headers and len(raw_path) + len(raw_query) <= _KEPT:
            match, params = self._read_known(method, raw_path, raw_query)
            return match, dict(params)
        return self._read(method, raw_path, raw_query, tuple(headers), body)

    def _read(
        self,
        method: str,
        raw_path: bytes,
        raw_query: bytes,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
    ) -> tuple[Match, dict[str, Any]]:
        match = self.match(method, raw_path, raw_query)
        named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
        params = self.parse(match, raw_query, named, body)
        self.validate(match.operation, params)
        return match, params

    def _reads_headers(self, operation: str) -> bool:
        shape = self._model.operation_model(operation).input_shape
        return isinstance(shape, StructureShape) and any(
            member.serialization.get("location") in ("header", "headers") for member in shape.members.values()
        )

    def match(self, method: str, raw_path: bytes | str, query: bytes | str = "") -> Match:
        """The operation that a request names; the path as it came over the wire.

        Raises:
            ApiError: `UnknownOperationException`, 404 for an unknown path, 405 for a method the path doesn't take.
        """
        return self._routes.match(method, _text(raw_path), _text(query))

    def parse(self, match: Match, raw_query: bytes | str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """The parameters, in AWS spelling; Content-Type isn't looked at, unknown members are dropped.

        Raises:
            ApiError: `SerializationException`, 400: not a JSON object, or a value of the wrong type.
        """
        operation = self._model.operation_model(match.operation)
        return parse_request(operation, match.labels, _text(raw_query), headers, body)

    def validate(self, operation: str, params: Mapping[str, Any]) -> None:
        """Hold the parameters against the model's constraints.

        Raises:
            ApiError: `ValidationException`, 400, listing every failure, naming the field, hiding sensitive values.
        """
        shape = self._model.operation_model(operation).input_shape
        if shape is None:
            return
        failures = Failures()
        check(shape, params, "", False, failures)
        error = failures.error()
        if error is not None:
            raise error

    def serialise(self, operation: str, output: Mapping[str, Any], request_id: str | None = None) -> Reply:
        """The answer to a call that went well; datetimes become epoch seconds, None is left out.

        Raises:
            ValueError: `output` has a member that the model doesn't know.
        """
        return output_reply(self._model.operation_model(operation), output, request_id)

    def error(self, error: ApiError, request_id: str) -> Reply:
        """The answer to a call that didn't. A modelled error has the model's status, any other `error.status`."""
        return error_reply(self._model, error, request_id)


def _text(raw: bytes | str) -> str:
    """Bytes of the wire one to one, so that nothing is decoded twice."""
    return raw.decode("latin-1") if isinstance(raw, bytes) else raw

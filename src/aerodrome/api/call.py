"""One call of the MWAA API, and the list of middleware it passes through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aerodrome.domain.principal import Principal
from aerodrome.wire import Match, Reply


@dataclass(slots=True)
class Call:
    """Filled in on its way: the request first, then who calls, then what they want."""

    method: str
    raw_path: bytes
    raw_query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    request_id: str
    source_ip: str = ""
    match: Match | None = None
    principal: Principal | None = None
    region: str = ""
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def operation(self) -> str:
        return self.match.operation if self.match else "-"

    @property
    def caller(self) -> Principal:
        """Who calls. Only asked for behind the middleware that verified the signature."""
        if self.principal is None:
            raise RuntimeError("an operation ran before the signature was verified")
        return self.principal

    def header(self, name: bytes) -> str:
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == name), "")


Handler = Callable[[Call], Awaitable[Reply]]
Middleware = Callable[[Call, Handler], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class FromRow:
    """An output that follows from a row alone: it need not be made again while `row` is the very same object."""

    id: str
    row: object
    make: Callable[[], Mapping[str, Any]]


Output = Mapping[str, Any] | FromRow


def fold(middleware: Sequence[Middleware], handler: Handler) -> Handler:
    """The first of the list is the outermost."""
    for layer in reversed(middleware):
        handler = _wrap(layer, handler)
    return handler


def _wrap(layer: Middleware, inner: Handler) -> Handler:
    return lambda call: layer(call, inner)

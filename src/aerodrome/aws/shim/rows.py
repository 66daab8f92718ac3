"""How state becomes rows: a key, a value, and the names of the bodies that the value points to.

Values are pickled, since ministack's records hold tuples, bytes and keys that JSON would change. What is read back
was sealed by us, and the reader makes nothing but plain data anyway.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import Any

RowKey = tuple[Any, ...]
_PLAIN = frozenset(
    {
        ("builtins", "set"),
        ("builtins", "frozenset"),
        ("builtins", "bytearray"),
        ("builtins", "complex"),
        ("collections", "OrderedDict"),
        ("collections", "defaultdict"),
        ("collections", "deque"),
        ("builtins", "dict"),
        ("builtins", "list"),
        ("datetime", "datetime"),
        ("datetime", "date"),
        ("datetime", "timedelta"),
        ("datetime", "timezone"),
        ("decimal", "Decimal"),
        ("_codecs", "encode"),
    }
)


@dataclass(frozen=True, slots=True)
class Row:
    """A value as it is stored: already encoded, so that nothing changes it on its way to the writer."""

    value: bytes
    blobs: tuple[bytes, ...] = ()


class _PlainReader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN:
            return super().find_class(module, name)
        if module == "ministack.core.responses" and name in ("AccountScopedDict", "AccountRegionScopedDict"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not plain data")


def encode(value: Any) -> bytes:
    return pickle.dumps(value, protocol=4)


def decode(data: bytes) -> Any:
    """Raises:
    pickle.UnpicklingError: it holds something that isn't plain data.
    """
    return _PlainReader(io.BytesIO(data)).load()

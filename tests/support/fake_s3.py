"""A bucket in memory, with moments at which a test can change it."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError


@dataclass
class FakeS3:
    """What `content.s3.S3` asks for. A version of an object is (body, time): each put is a second later.

    `on_list` is called before each page with its number, `on_get` before each object with its key.
    """

    page: int = 1000
    on_list: Callable[[int], None] = lambda _: None
    on_get: Callable[[str], None] = lambda _: None
    unreadable: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    _objects: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    _clock: int = 1_000_000_000

    def put(self, key: str, text: str) -> None:
        self._clock += 1
        self._objects[key] = (text.encode(), self._clock)

    def remove(self, *keys: str) -> None:
        for key in keys or [*self._objects]:
            self._objects.pop(key, None)

    def list_objects_v2(self, **arguments: Any) -> Any:
        self.calls["list"] += 1
        self.on_list(self.calls["list"])
        prefix, after = arguments["Prefix"], arguments.get("ContinuationToken", "")
        keys = [key for key in sorted(self._objects) if key.startswith(prefix) and key > after]
        found = keys[: self.page]
        answer: dict[str, Any] = {"Contents": [{"Key": key, **self._head(key)} for key in found]}
        if len(keys) > len(found):
            answer |= {"IsTruncated": True, "NextContinuationToken": found[-1]}
        return answer

    def get_object(self, **arguments: Any) -> Any:
        key = arguments["Key"]
        self.calls["get"] += 1
        self.on_get(key)
        code = "AccessDenied" if key in self.unreadable else "NoSuchKey" if key not in self._objects else None
        if code:
            raise ClientError({"Error": {"Code": code, "Message": ""}}, "GetObject")
        head = self._head(key)
        return {**head, "ContentLength": head["Size"], "Body": io.BytesIO(self._objects[key][0])}

    def close(self) -> None:
        return

    def _head(self, key: str) -> dict[str, Any]:
        body, modified = self._objects[key]
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        return {"ETag": etag, "Size": len(body), "LastModified": datetime.fromtimestamp(modified, UTC)}

"""Which requests to S3 change what lies in a bucket: read off the request alone, whoever signed it and however."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qsl, unquote


@dataclass(frozen=True, slots=True)
class Write:
    """A request that uploads or deletes. `path` is decoded; `names_key`: it is about the object that it names.

    `changes`: objects are others when it has succeeded. A part of an upload only announces that of its end.
    """

    host: str
    path: str
    names_key: bool
    changes: bool

    @classmethod
    def of(cls, method: str, raw_path: bytes, query: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Write | None:
        """The write that the request is, or None.

        PutObject, CopyObject, DeleteObject, UploadPart, CompleteMultipartUpload, DeleteObjects and browsers' POST of an
        object. A request for a tag or an ACL of an object is taken for a write of it.
        """
        upload = b"uploadId=" in query and "uploadId" in dict(parse_qsl(query.decode("latin-1")))
        if method not in ("PUT", "POST", "DELETE") or (upload and method == "DELETE"):  # the latter gives an upload up
            return None
        host = next((value.decode("latin-1") for name, value in headers if name == b"host"), "")
        path = unquote(raw_path.decode("latin-1"))
        return cls(host, path, names_key=method != "POST" or upload, changes=not upload or method == "POST")

    def is_about(self, bucket: str, prefix: str) -> bool:
        """Whether it may be about objects of the bucket below the prefix. Path or host name the bucket."""
        keys = []
        if self.path == f"/{bucket}" or self.path.startswith(f"/{bucket}/"):
            keys.append(self.path[len(bucket) + 2 :])
        if self.host.startswith(f"{bucket}."):
            keys.append(self.path[1:])
        return any((key and key.startswith(prefix)) if self.names_key else not key for key in keys)


class Writes(Protocol):
    """Who is told of writes that pass by. Of the end of one it is told once or more often; the first time counts."""

    def began(self, write: Write) -> None: ...

    def ended(self, write: Write, *, durable: bool) -> None: ...

"""S3: one row per object, version list, tag set and upload; bodies apart; memory holds no bodies.

ministack keeps every body in memory, or (S3_PERSIST) as plain files. Here a body leaves memory when its request is
made durable, and the record keeps the body's name in a member of our own, `blob`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .disk import Change, Disk
from .pinned import Ministack
from .rows import Row, RowKey, encode
from .sealing import Sealer
from .tracking import Entry, Tracked

_OBJECTS = "objects"
_VERSIONS = "_object_versions"
_UPLOADS = "_multipart_uploads"
_TABLES = (
    _VERSIONS,
    "_object_tags",
    "_object_acl",
    "_object_annotations",
    "_object_retention",
    "_object_legal_hold",
    _UPLOADS,
    "_completed_multipart_uploads",
)


class _Buckets(dict[Any, Any]):
    """ministack's table of buckets: any bucket put into it gets a tracked table of objects."""

    def __init__(self, content: Mapping[Any, Any]) -> None:
        super().__init__()
        for key, bucket in content.items():
            self[key] = bucket

    def __setitem__(self, key: Any, bucket: Any) -> None:
        super().__setitem__(key, _with_tracked_objects(key, bucket))

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *others: Any, **named: Any) -> None:
        for key, bucket in dict(*others, **named).items():
            self[key] = bucket


def _with_tracked_objects(key: tuple[str, str], bucket: Any) -> Any:
    """`key` is (account, bucket); both are part of the table's name."""
    objects = bucket.get("objects")
    if not isinstance(objects, Tracked):
        bucket["objects"] = Tracked("/".join((_OBJECTS, *key)), (objects or {}).items())
    return bucket


class S3State:
    """Puts itself under ministack's S3; then turns touched entries into rows, and rows into state."""

    def __init__(self, stack: Ministack, disk: Disk, sealer: Sealer) -> None:
        self._s3 = stack.s3
        self._disk = disk
        self._sealer = sealer
        self._pending: dict[bytes, bytes] = {}  # bodies on their way to the disk
        s3 = self._s3
        s3._buckets._data = _Buckets(s3._buckets._data)
        for table in _TABLES:
            store = getattr(s3, table)
            store._data = Tracked(table, store._data.items())
        s3._read_body = self._read_body
        s3._version_body = self._version_body

    @property
    def stores(self) -> list[object]:
        """The stores that are kept here entry by entry."""
        return [getattr(self._s3, table) for table in _TABLES]

    # -- in place of ministack's -----------------------------------------------------------------------------------

    def body(self, name: bytes) -> bytes:
        pending = self._pending.get(name)
        return pending if pending is not None else self._disk.read_blob(name)

    def _read_body(self, _bucket_name: str, _key: str, obj: Mapping[str, Any]) -> bytes:
        body: bytes | None = obj.get("body")
        if body is not None:
            return body
        name: bytes | None = obj.get("blob")
        return self.body(name) if name else b""

    def _version_body(self, bucket: Any, bucket_name: str, key: str, v: Mapping[str, Any]) -> bytes | None:
        data: bytes | None = v.get("data")
        if data is not None:
            return data
        name: bytes | None = v.get("blob")
        if name:
            return self.body(name)
        current = bucket["objects"].get(key)
        if current is not None and (current.get("version_id") or "null") == v["version_id"]:
            return self._read_body(bucket_name, key, current)
        return None

    # -- to disk ---------------------------------------------------------------------------------------------------

    def collect(self, entries: Iterable[Entry], change: Change) -> None:
        """Add the rows and bodies of the touched entries to the change. Runs in the request loop."""
        names: dict[int, bytes] = {}
        for table, key in entries:
            value = self._current(table, key)
            change.rows["s3", table, key] = None if value is None else self._row(table, value, change.blobs, names)

    def settled(self, change: Change) -> None:
        """The change is on disk: its bodies are read from there now."""
        for name in change.blobs:
            self._pending.pop(name, None)

    def _current(self, table: str, key: Any) -> Any:
        if not table.startswith(_OBJECTS):
            return dict.get(getattr(self._s3, table)._data, key)
        account, bucket = table.split("/")[1:]
        record = dict.get(self._s3._buckets._data, (account, bucket))
        return None if record is None else dict.get(record["objects"], key)

    def _row(self, table: str, value: Any, blobs: dict[bytes, bytes], names: dict[int, bytes]) -> Row:
        if table.startswith(_OBJECTS):
            found = self._externalise(value, "body", blobs, names)
        elif table == _VERSIONS:
            found = [name for entry in value for name in self._externalise(entry, "data", blobs, names)]
        elif table == _UPLOADS:
            return self._upload_row(value, blobs)
        else:
            found = []
        return Row(encode(value), tuple(dict.fromkeys(found)))

    def _externalise(
        self, record: dict[str, Any], member: str, blobs: dict[bytes, bytes], names: dict[int, bytes]
    ) -> list[bytes]:
        body = record.get(member)
        if isinstance(body, bytes):
            name = names.get(id(body))
            if name is None:
                name = names[id(body)] = self._sealer.name(body)
                blobs[name] = self._pending[name] = body  # keeps the body, and so its id, alive
            record["blob"] = name
            record[member] = None
        return self._again(record.get("blob"), blobs)

    def _again(self, name: bytes | None, blobs: dict[bytes, bytes]) -> list[bytes]:
        """A body whose commit failed is still pending, and goes along with this one."""
        if name in self._pending:
            blobs[name] = self._pending[name]
        return [name] if name else []

    def _upload_row(self, upload: dict[str, Any], blobs: dict[bytes, bytes]) -> Row:
        """Parts stay in memory (completing an upload reads them there), and are on disk all the same."""
        parts = {}
        for number, part in upload["parts"].items():
            if "blob" not in part:
                part["blob"] = self._sealer.name(part["body"])
                self._pending[part["blob"]] = part["body"]
            self._again(part["blob"], blobs)
            parts[number] = {**part, "body": None}
        names = tuple(dict.fromkeys(part["blob"] for part in parts.values()))
        return Row(encode({**upload, "parts": parts}), names)

    # -- from disk -------------------------------------------------------------------------------------------------

    def restore(self, rows: Mapping[RowKey, Any]) -> None:
        """Put the rows back. The buckets themselves have been restored by then, with ministack's own state."""
        for (_, table, key), value in rows.items():
            if table.startswith(_OBJECTS):
                account, bucket = table.split("/")[1:]
                record = self._s3._buckets._data.setdefault((account, bucket), {"objects": {}})
                dict.__setitem__(record["objects"], key, value)
                continue
            if table == _UPLOADS:
                for part in value["parts"].values():
                    part["body"] = self._disk.read_blob(part["blob"])
            dict.__setitem__(getattr(self._s3, table)._data, key, value)
        self._s3._reschedule_restores()


def is_s3_row(key: RowKey) -> bool:
    """Whether the row is one of this module's (others hold ministack's own state of S3)."""
    return key[0] == "s3" and len(key) == 3 and (str(key[1]).startswith(f"{_OBJECTS}/") or key[1] in _TABLES)

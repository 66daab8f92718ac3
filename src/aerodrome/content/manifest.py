"""What a version of a folder is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from aerodrome.content.keys import Listed

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one version. `inode` ties it to its directory: a manifest without its directory is worthless."""

    version: str
    source: str  # "BUCKET/PREFIX": another source is another folder, whatever the ETags say
    inode: int
    files: Mapping[str, Listed] = field(default_factory=dict)

    def dump(self) -> str:
        raw = {"format": FORMAT, "version": self.version, "source": self.source, "inode": self.inode}
        files = {
            path: {"key": item.key, "etag": item.etag, "size": item.size, "modified": item.modified}
            for path, item in sorted(self.files.items())
        }
        return json.dumps(raw | {"files": files})

    @classmethod
    def parse(cls, text: str) -> Manifest | None:
        """The manifest, or None when the text is damaged or of another format: everything is fetched again then."""
        try:
            raw = json.loads(text)
            if raw["format"] != FORMAT:
                return None
            files = {path: Listed(**item) for path, item in raw["files"].items()}
            return cls(str(raw["version"]), str(raw["source"]), int(raw["inode"]), files)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

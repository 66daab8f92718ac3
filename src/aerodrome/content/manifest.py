"""What a version of a folder is made of, and what differs between it and a listing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

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
        return json.dumps(raw | {"files": {path: asdict(item) for path, item in sorted(self.files.items())}})

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


@dataclass(frozen=True, slots=True)
class Difference:
    """Paths to fetch, to keep and to drop, each sorted."""

    changed: tuple[str, ...]
    kept: tuple[str, ...]
    removed: tuple[str, ...]


def compare(previous: Mapping[str, Listed], wanted: Mapping[str, Listed]) -> Difference:
    """What turns `previous` into `wanted`: a file is kept when key, ETag, size and time are all the same."""
    kept = {path for path, item in wanted.items() if previous.get(path) == item}
    return Difference(
        changed=tuple(sorted(wanted.keys() - kept)),
        kept=tuple(sorted(kept)),
        removed=tuple(sorted(previous.keys() - wanted.keys())),
    )

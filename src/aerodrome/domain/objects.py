"""The objects of the bucket that an environment names besides its DAGs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# The member that names the object -> the member that names its version.
VERSIONS: Mapping[str, str] = MappingProxyType(
    {f"{kind}S3Path": f"{kind}S3ObjectVersion" for kind in ("Plugins", "Requirements", "StartupScript")}
)


def key_of(path: str) -> str:
    """The object's key: a path may be written with a slash in front, as the console of MWAA does."""
    return path.lstrip("/")

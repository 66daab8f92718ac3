"""Partitions of AWS: a region belongs to one, and so does every ARN in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

# By how a region's name begins; every other region is in `aws`. The embedded cloud's shim has the same table.
PREFIXES: Mapping[str, str] = MappingProxyType(
    {
        "cn-": "aws-cn",
        "eusc-": "aws-eusc",
        "us-gov-": "aws-us-gov",
        "us-iso-": "aws-iso",
        "us-isob-": "aws-iso-b",
        "eu-isoe-": "aws-iso-e",
        "us-isof-": "aws-iso-f",
    }
)
_ARN = re.compile(r"arn:aws(?:-[a-z]+)*(?=:)")


def partition_of(region: str) -> str:
    return next((partition for prefix, partition in PREFIXES.items() if region.startswith(prefix)), "aws")


def moved(value: Any, partition: str) -> Any:
    """A JSON value, its ARNs those of that partition."""
    if isinstance(value, str):
        return _ARN.sub(f"arn:{partition}", value, count=1) if value.startswith("arn:") else value
    if isinstance(value, Mapping):
        return {name: moved(each, partition) for name, each in value.items()}
    return [moved(each, partition) for each in value] if isinstance(value, Sequence) else value

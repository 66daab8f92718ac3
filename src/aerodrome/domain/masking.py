"""Values of a user's options are secrets: what we write down has their names instead (mwaa-spec 1.3).

Airflow repeats a value that it can't use, a traceback one that it was handed: the last lines of a component's log,
which stand in `LastUpdate.Error`, in events and in our own log.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

# Shorter values are told unless the option's name speaks of a secret: `"many"` in an error helps, and hides nothing.
_SHORTEST, _SHORTEST_SECRET = 8, 4
_TELLING = re.compile(r"(?i)api_?key|credential|dsn|passphrase|passw|private|pwd|secret_|secret$|token")
# Words that are everywhere in a log and no secret anywhere.
_PLAIN = re.compile(r"(?i)true|false|none|null|[-+.,\d]*|debug|info|warning|error|critical")


def mask(text: str, options: Iterable[tuple[str, str]]) -> str:
    """The text with `<section.option>` wherever the value of an option stood, whole or a secret part of it."""
    hidden: dict[str, str] = {}
    for option, value in options:
        for name, part in _parts(option, value):
            least = _SHORTEST_SECRET if _TELLING.search(name) else _SHORTEST
            if len(part) >= least and not _PLAIN.fullmatch(part):
                hidden |= dict.fromkeys(_spellings(part), option)
    for spelled in sorted(hidden, key=len, reverse=True):
        text = text.replace(spelled, f"<{hidden[spelled]}>")
    return text


def mask_all(data: Any, options: Iterable[tuple[str, str]]) -> Any:
    """Every text in JSON data, keys left alone."""
    if isinstance(data, str):
        return mask(data, options)
    if isinstance(data, Mapping):
        return {key: mask_all(value, options) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [mask_all(value, options) for value in data]
    return data


def _parts(name: str, value: str) -> Iterator[tuple[str, str]]:
    """The value, the texts in it if it is JSON, the password if it is a URL; each with what it is the value of."""
    stripped = value.strip()
    yield name, stripped
    if stripped[:1] in ("{", "["):
        try:
            yield from _leaves("", json.loads(stripped))
        except (ValueError, RecursionError):
            return
    elif "://" in stripped:
        try:
            yield "password", urlsplit(stripped).password or ""
        except ValueError:
            return


def _leaves(name: str, data: Any) -> Iterator[tuple[str, str]]:
    if isinstance(data, str):
        yield name, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _leaves(key, value)
    elif isinstance(data, list):
        for value in data:
            yield from _leaves(name, value)


def _spellings(part: str) -> set[str]:
    """As it is, as JSON and as Python write it between quotation marks."""
    return {part, json.dumps(part)[1:-1], repr(part)[1:-1]}

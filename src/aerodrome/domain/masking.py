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
_BEGINNING = 6  # so many characters of a secret are told by no line that was cut
_TELLING = re.compile(r"(?i)api_?key|credential|dsn|passphrase|passw|private|pwd|secret_|secret$|token")
# Words that are everywhere in a log and no secret anywhere; and numbers, unless the name speaks of a secret.
_PLAIN = re.compile(
    r"(?i)true|false|none|null|debug|info|warning|error|critical|scheduler|webserver|worker|triggerer|dag-processor"
)
_NUMBER = re.compile(r"[-+.,\d]*")


def mask(text: str, options: Iterable[tuple[str, str]]) -> str:
    """The text with `<section.option>` wherever the value of an option stood, whole or a secret part of it."""
    hidden, secret = dict[str, str](), dict[str, str]()
    for option, value in options:
        for name, part in _parts(option, value):
            if _PLAIN.fullmatch(part):
                continue
            if _TELLING.search(name):
                secret |= dict.fromkeys(_spellings(part), option) if len(part) >= _SHORTEST_SECRET else {}
            elif len(part) >= _SHORTEST and not _NUMBER.fullmatch(part):
                hidden |= dict.fromkeys(_spellings(part), option)
    hidden |= secret
    for spelled in sorted(hidden, key=len, reverse=True):
        text = text.replace(spelled, f"<{hidden[spelled]}>")
    for spelled, option in secret.items():
        text = _without_beginnings(text, spelled, f"<{option}>")
    return text


def _without_beginnings(text: str, value: str, name: str) -> str:
    """Who shortens a line may cut through a secret: what is left of it goes, too."""
    at = text.find(value[:_BEGINNING]) if len(value) > _BEGINNING else -1
    while at >= 0:
        length = _BEGINNING
        while text[at + length : at + length + 1] == value[length : length + 1] != "":
            length += 1
        text = text[:at] + name + text[at + length :]
        at = text.find(value[:_BEGINNING], at + len(name))
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

"""uv's failures in words for whoever wrote the requirements: its reasons, without progress, signs and secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aerodrome.errors import Permanent, Temporary
from aerodrome.runtimes.requirements import Requirements, redact
from aerodrome.runtimes.uv import UvError

_LONGEST = 1500  # characters of an explanation in a message; all of it is in the detail
_AWAY = 30.0  # seconds until an index is asked again
_VERSIONS = re.compile(r"(:\n\s+[\w.-]+[<>=!]\S*\n)(\s+[\w.-]+[<>=!]\S*\n)+")
_PIN = re.compile(r"(?<![\w.-])[A-Za-z0-9][\w.-]*==[\w.+!-]*\w")


def explain(error: UvError, wanted: Requirements, version: str, pins: Iterable[str]) -> Permanent | Temporary:
    """The error to raise. `pins`: those of Airflow `version`, to be told from what the user asks for."""
    said = redact(error.output, wanted.secrets)
    if error.disk_full:
        return Temporary("The requirements were not installed: the disk is full. Free some space.", 10)
    reason = explanation(said)
    if "No solution found" in said:
        airflows = sorted(set(_PIN.findall(reason)) & set(pins) - set(wanted.wanted))
        whose = f" Airflow {version} comes with {', '.join(airflows)}." if airflows else ""
        return Permanent(f"The requirements can't be installed beside Airflow {version}: {reason}{whose}", said)
    if error.network:
        return Temporary(f"The requirements were not installed: an index can't be reached. uv says: {reason}", _AWAY)
    return Permanent(f"The requirements were not installed. uv says: {reason}", said)


def explanation(output: str) -> str:
    """The error, its causes and hints in one line: from what uv prints between its progress and the end.

    Of a long chain of reasons the end is kept, with what is required; lists of versions are cut.
    """
    text = output[output.find("error: ") + len("error: ") :] if "error: " in output else output
    words = " ".join(line.strip() for line in _VERSIONS.sub(r"\1 …\n", text).splitlines())
    words = re.sub(r"\s+", " ", words).strip()
    words = re.sub(r"^No solution found when resolving dependencies:? (cause: )?", "", words)
    words = re.sub(r" \(try: `[^)]*\)", "", re.sub(r"\.? cause: ", ": ", words))
    if len(words) <= _LONGEST:
        return words
    start = words.find(" And because ", len(words) - _LONGEST)
    return f"…{words[start:]}" if start >= 0 else f"{words[:_LONGEST]} …"

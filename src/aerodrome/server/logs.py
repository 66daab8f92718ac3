"""The control plane's log: a line for every call, so what a line costs is a part of what every call costs."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import TextIO

_TOGETHER = 0.1  # seconds for which lines are gathered, and so what a `kill -9` can take of them
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_NOISY = ("httpx", "httpcore", "botocore", "urllib3")


def start() -> None:
    """Log to standard output from here on."""
    handler = TogetherHandler(sys.stdout)
    handler.setFormatter(QuickFormatter(_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Our format names neither thread, process, task nor place in the source.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.logAsyncioTasks = False  # type: ignore[attr-defined]  # Python 3.12
    logging._srcfile = None  # the way to leave it out that `logging` documents


class QuickFormatter(logging.Formatter):
    """The usual lines; the second is spelled once for all of its lines."""

    _second = -1
    _text = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - the base's
        second = int(record.created)
        if second != self._second:
            self._text = time.strftime(self.default_time_format, self.converter(second))
            self._second = second
        return f"{self._text},{int(record.msecs):03d}"


class TogetherHandler(logging.StreamHandler[TextIO]):
    """Writes the lines of a moment at once, in their order; from a warning on, nothing waits."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(self.format(record))
        except (ValueError, TypeError):  # arguments that don't suit the message
            self.handleError(record)
            return
        if record.levelno >= logging.WARNING:
            self.flush()
        elif len(self._lines) == 1:
            self._flush_later()

    def _flush_later(self) -> None:
        try:
            asyncio.get_running_loop().call_later(_TOGETHER, self.flush)
        except RuntimeError:  # no loop in this thread
            self.flush()

    def flush(self) -> None:
        self.acquire()
        try:
            lines, self._lines = self._lines, []
            if lines:
                self.stream.write("\n".join(lines) + "\n")
            super().flush()
        finally:
            self.release()

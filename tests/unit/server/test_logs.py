from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator

import pytest

from aerodrome.server.logs import QuickFormatter, TogetherHandler


class Stream(io.StringIO):
    """Tells when something is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def write(self, text: str) -> int:
        self.written.set()
        return super().write(text)


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def log(stream: Stream) -> Iterator[logging.Logger]:
    logger = logging.getLogger("test.together")
    handler = TogetherHandler(stream)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield logger
    logger.removeHandler(handler)


async def test_lines_of_a_moment_are_written_at_once_and_in_order(log: logging.Logger, stream: Stream) -> None:
    for number in range(3):
        log.info("line %d", number)
    assert stream.getvalue() == ""
    await asyncio.wait_for(stream.written.wait(), 5)
    assert stream.getvalue() == "line 0\nline 1\nline 2\n"
    stream.written.clear()
    log.info("line 3")
    await asyncio.wait_for(stream.written.wait(), 5)
    assert stream.getvalue().endswith("\nline 3\n")


async def test_a_warning_waits_for_nothing_and_takes_along_what_waits(log: logging.Logger, stream: Stream) -> None:
    log.info("before")
    log.warning("now")
    assert stream.getvalue() == "before\nnow\n"


def test_without_a_loop_a_line_is_written_as_it_comes(log: logging.Logger, stream: Stream) -> None:
    log.info("starting")
    assert stream.getvalue() == "starting\n"


def test_a_line_has_the_time_that_the_standard_formatter_gives_it() -> None:
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    quick, usual = QuickFormatter(form), logging.Formatter(form)
    for created in (1795357800.0, 1795357800.25, 1795357801.9994, 1795361400.5):
        record = logging.makeLogRecord({"name": "n", "levelname": "INFO", "msg": "m", "created": created})
        record.msecs = float(int((created - int(created)) * 1000))
        assert quick.format(record) == usual.format(record)

"""What starting and stopping tell the person who waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Told of steps that may overlap. Called on the event loop and from threads."""

    def started(self, step: str) -> None: ...

    def said(self, step: str, text: str) -> None: ...

    def ended(self, step: str, seconds: float) -> None: ...

    def notice(self, text: str) -> None: ...


class Silent:
    """Tells nobody."""

    def started(self, step: str) -> None:
        pass

    def said(self, step: str, text: str) -> None:
        pass

    def ended(self, step: str, seconds: float) -> None:
        pass

    def notice(self, text: str) -> None:
        pass


@contextmanager
def timed(progress: Progress, step: str) -> Iterator[None]:
    """One step: its end is told with its time, unless it fails."""
    began = time.monotonic()
    progress.started(step)
    yield
    progress.ended(step, time.monotonic() - began)

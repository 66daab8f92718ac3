"""Ctrl-C and SIGTERM as something to wait for, so that stopping can be orderly and a second one can cut it short."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """The person (or the service manager) wants the command to end."""


class Interrupts:
    """Within the block, signals don't raise: each ends one `during`."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def __enter__(self) -> Interrupts:
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._event.set)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end, or until a signal comes: then it is cancelled and has ended when this raises.

        Ctrl-C at a terminal reaches the programs that `work` waits for, too: its failure after one counts as that.

        Raises:
            Interrupted: a signal came first.
        """
        self._event.clear()
        task = asyncio.ensure_future(work)
        waiting = asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
            task.cancel()
            await asyncio.wait((task,))
            if self._event.is_set() and (task.cancelled() or task.exception() is not None):
                raise Interrupted
            return await task
        finally:
            waiting.cancel()
            task.cancel()

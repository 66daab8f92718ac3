"""The command line, killed by itself: `killed.py MODULE NAME COMMAND...` gets SIGKILL after the first call of NAME.

NAME may be `Class.method`; what it is to do is done. `NAME!` kills before.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
from typing import Any


def _arm(module: str, name: str) -> None:
    before, name = name.endswith("!"), name.rstrip("!")
    owner: Any = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    original = getattr(owner, last)

    async def later(*given: Any, **named: Any) -> Any:
        if not before:
            await original(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    def at_once(*given: Any, **named: Any) -> Any:
        if not before:
            original(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, last, later if asyncio.iscoroutinefunction(original) else at_once)


if __name__ == "__main__":
    _arm(*sys.argv[1:3])
    del sys.argv[1:3]
    from aerodrome.cli.main import main

    main()

"""A warm process without Airflow, for tests. A command's first argument is a Python program; it sees `arguments`.

WARM=refuses|crashes|hangs    what becomes of it before it is ready
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from typing import NoReturn

from aerodrome_airflow import forks


def run(arguments: list[str]) -> NoReturn:
    code: object = 0
    try:
        exec(compile(arguments[0], "command", "exec"), {"__name__": "__main__", "arguments": arguments})  # noqa: S102
    except SystemExit as leaving:
        code = leaving.code
    except Exception:  # noqa: BLE001 - as Python does at the top
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


def main() -> None:
    control = forks.take_over_stdin()
    behaviour = os.environ.get("WARM")
    if behaviour == "refuses":
        control.sendall(b"a thread runs\n")
        return
    if behaviour == "crashes":
        raise RuntimeError("no such module")
    if behaviour == "hangs":
        time.sleep(1000)
    control.sendall(b"ready\n")
    forks.serve(control, forks.Start.here(run))


if __name__ == "__main__":
    main()
    os._exit(0)

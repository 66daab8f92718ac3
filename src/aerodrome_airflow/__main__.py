"""`python -P -m aerodrome_airflow ARGUMENTS` is `airflow ARGUMENTS` with the environment's own files."""

from __future__ import annotations

import atexit
import json
import os
import sys
from pathlib import Path

from aerodrome_airflow.launch import run

_HERE = str(Path(__file__).parent)


def main(arguments: list[str]) -> None:
    """Run Airflow, then leave at once: taking the interpreter apart costs a web server seconds and brings nothing."""
    code: object = 0
    try:
        run(arguments)
    except SystemExit as leaving:
        code = leaving.code
    except Exception as error:  # noqa: BLE001 - as Python does at the top
        code = 1
        _show(error)
    if code is not None and not isinstance(code, int):
        sys.stderr.write(f"{code}\n")
        code = 1
    atexit._run_exitfuncs()  # children are ended and logs are flushed, as at any end
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(code or 0)


def _show(error: Exception) -> None:
    """As Python does, without the frames that are ours: what is left is what `airflow` itself would show."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
        trace = trace.tb_next
    sys.excepthook(type(error), error.with_traceback(trace), trace)


if __name__ == "__main__":
    given = os.environ.pop("AERODROME_ARGUMENTS", None)  # of the CLI bridge: argv would show them to every user
    main(sys.argv[1:] if given is None else json.loads(given))

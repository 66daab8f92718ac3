"""`python -P -m aerodrome_airflow ARGUMENTS` is `airflow ARGUMENTS` with the environment's own files."""

from __future__ import annotations

import atexit
import json
import os
import sys

from aerodrome_airflow.launch import run


def main(arguments: list[str]) -> None:
    """Run Airflow, then leave at once: taking the interpreter apart costs a web server seconds and brings nothing."""
    code: object = 0
    try:
        run(arguments)
    except SystemExit as leaving:
        code = leaving.code
    if code is not None and not isinstance(code, int):
        sys.stderr.write(f"{code}\n")
        code = 1
    atexit._run_exitfuncs()  # children are ended and logs are flushed, as at any end
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    given = os.environ.pop("AERODROME_ARGUMENTS", None)  # of the CLI bridge: argv would show them to every user
    main(sys.argv[1:] if given is None else json.loads(given))

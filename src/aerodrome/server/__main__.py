"""`python -m aerodrome.server --home HOME`: the control plane, as Supervisor starts it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import uvloop

from aerodrome.errors import AerodromeError
from aerodrome.layout import Layout
from aerodrome.machineroom.installation import load
from aerodrome.server import logs
from aerodrome.server.compose import run
from aerodrome.settings import Settings, registry_variables, service_endpoints


def main() -> int:
    """0 after a requested stop, 1 when it can't run; the reason is the last line of the log."""
    parser = argparse.ArgumentParser(prog="aerodrome.server", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="AERODROME_HOME of the installation to serve")
    layout = Layout(parser.parse_args().home.absolute())
    logs.start()
    try:
        installation = load(layout)
        settings = Settings(home=layout.home)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(layout, installation, settings, service_endpoints(), registry_variables()))
    except AerodromeError as error:
        logging.getLogger("aerodrome").error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

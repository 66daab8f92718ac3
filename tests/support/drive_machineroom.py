"""The real command line with another control plane: one that only answers, so that these tests need no Airflow."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from aerodrome.cli import main, starting
from aerodrome.layout import Layout
from aerodrome.machineroom import control, ports, room
from aerodrome.machineroom.installation import Installation
from aerodrome.supervision import Program

ANSWERER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
OTHER = {443: 444}  # one that needs privileges, too


def stand_in(layout: Layout, installation: Installation, surroundings: Mapping[str, str]) -> Program:
    real = control.program(layout, installation, surroundings)
    return replace(real, argv=(sys.executable, "-I", "-u", "-c", ANSWERER, str(installation.front_port)))


def other_usual_ports(*binds: str) -> tuple[ports.Listener, ...]:
    """Whole environments are tested at the same time, and while theirs is down nobody else may take its usual ports."""
    return tuple(
        replace(each, usual=tuple(OTHER.get(port, port + 1000) for port in each.usual)) for each in usual(*binds)
    )


def choose_slowly(*arguments: Any) -> dict[str, ports.Choice]:
    """With a pause after ports were chosen, for what can happen before they are taken."""
    chosen = choose(*arguments)
    if folder := os.environ.get("AERODROME_TEST_PAUSE"):
        Path(folder, "chosen").touch()
        deadline = time.monotonic() + 60
        while not Path(folder, "go").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    return chosen


comeback = (sys.executable, str(Path(__file__).resolve()), "up", "--detach")
usual, ports.listeners = ports.listeners, other_usual_ports
choose, ports.choose = ports.choose, choose_slowly
starting.up = partial(room.up, control_program=stand_in, comeback=comeback)

if __name__ == "__main__":
    main.main()

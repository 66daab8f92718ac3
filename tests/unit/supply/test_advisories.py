"""The look-up of advisories in `make check`, with a stand-in for the service."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.postgres import free_port

PROGRAM = Path(__file__).parents[2] / "support" / "advisories.py"
PINS = "good==1.0 --hash=sha256:{0}\nbad==2.0 --hash=sha256:{0}\n".format("0" * 64)
KNOWN = {
    "vulns": [
        {
            "id": "GHSA-test",
            "summary": "It does harm.",
            "affected": [
                {
                    "package": {"name": "bad", "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.1"}]}],
                }
            ],
        }
    ]
}


@pytest.fixture
def osv(tmp_path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """URL of the service, and what it knows by package."""
    known: dict[str, object] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            data = json.dumps(known.get(asked["package"]["name"], {})).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query", known
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def audit(tmp_path: Path, url: str, pins: str = PINS) -> tuple[int, str]:
    file = tmp_path / "pins.txt"
    file.write_text(pins)
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, PROGRAM, "--osv", url, file], capture_output=True, text=True, check=False, env=variables
    )
    return done.returncode, done.stdout


def test_nothing_is_known(osv: tuple[str, dict[str, object]], tmp_path: Path) -> None:
    assert audit(tmp_path, osv[0]) == (0, "advisories: nothing is known against 2 packages\n")


def test_what_is_known_fails_and_names_the_way_out(osv: tuple[str, dict[str, object]], tmp_path: Path) -> None:
    osv[1]["bad"] = KNOWN
    assert audit(tmp_path, osv[0]) == (1, "bad 2.0: GHSA-test, mended in 2.1\n")


def test_a_service_out_of_reach_fails_nothing_and_is_told(tmp_path: Path) -> None:
    code, told = audit(tmp_path, f"http://127.0.0.1:{free_port()}/v1/query")
    assert code == 0
    assert told.startswith("advisories: not looked up, since the service is out of reach")


def test_pins_that_cant_be_read_fail(osv: tuple[str, dict[str, object]], tmp_path: Path) -> None:
    code, told = audit(tmp_path, osv[0], "no pin at all\n")
    assert code == 2
    assert told.startswith("advisories: pip-audit failed")

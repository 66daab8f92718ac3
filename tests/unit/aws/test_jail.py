"""What the embedded cloud's process may not do, tried in a process of its own: the jail has no way out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from aerodrome.aws.shim import jail

TRIES = {
    "child": "import subprocess; subprocess.run(['/bin/true'])",
    "system": "import os; os.system('true')",
    "fork": "import os; os.fork()",
    "spawn": "import os; os.posix_spawn('/bin/true', ['true'], {})",
    "exec": "import os; os.execv('/bin/true', ['true'])",
    "connect": "import socket; socket.socket().connect(('127.0.0.1', 9))",
    "unix": "import socket; socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
    "bind": "import socket; socket.socket().bind(('127.0.0.1', 0))",
    "lookup": "import socket; socket.getaddrinfo('localhost', 80)",
    "url": "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/')",
}


def run(code: str, *, closed: bool) -> str:
    close = f"import runpy; runpy.run_path({jail.__file__!r})['close']()\n" if closed else ""
    done = subprocess.run(
        [sys.executable, "-I", "-c", close + code], capture_output=True, text=True, timeout=30, check=False
    )
    return done.stderr


@pytest.mark.parametrize("name", TRIES)
def test_not_in_the_jail(name: str) -> None:
    assert "the embedded cloud" in run(TRIES[name], closed=True)


@pytest.mark.parametrize("name", TRIES)
def test_it_is_the_jail_that_forbids(name: str) -> None:
    assert "the embedded cloud" not in run(TRIES[name], closed=False)

"""uv as a process of ours."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

_RUNS = """
import sys
from pathlib import Path
from aerodrome.runtimes import uv
uv.run(["pip", "compile", "--no-config", "--index-url", sys.argv[1], sys.argv[2]], cache=Path(sys.argv[3]))
"""


def test_it_ends_with_whoever_runs_it(tmp_path: Path) -> None:
    """Killed by `kill -9`: what comes next writes to the same places."""
    wanted = tmp_path / "in.txt"
    wanted.write_text("anything\n")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    variables |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        argv = [sys.executable, "-c", _RUNS, index, str(wanted), str(tmp_path / "cache")]
        runner = subprocess.Popen(argv, env=variables)
        try:
            connection, _ = silent.accept()
        finally:
            runner.send_signal(signal.SIGKILL)
            runner.wait()
        with connection:
            connection.settimeout(10)
            while connection.recv(4096):  # the request; then the end of uv
                pass

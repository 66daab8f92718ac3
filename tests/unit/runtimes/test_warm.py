"""When a process with Airflow in it is no good to be forked for commands, and how an error at the top is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

START = "import socket, threading, time; from aerodrome_airflow import warm; control = socket.socket()"


def obstacle(tmp_path: Path, code: str) -> str:
    """What a process of its own that has done that says."""
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "local_settings.py").write_text("")
    variables = {"PATH": os.environ["PATH"], "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags")}
    script = f"{START}\n{code}\nprint(warm.obstacle(), flush=True)\nimport os; os._exit(0)"
    done = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("", "None"),
        ("threading.Thread(target=time.sleep, args=(100,), daemon=True).start()", "has started a thread"),
        ("other = socket.socket()", "has opened a connection"),
        ("import sys; sys.path.append(FOLDER); import local_settings", "the environment's own local_settings"),
    ],
)
def test_what_a_child_would_not_have_or_should_not(tmp_path: Path, code: str, said: str) -> None:
    assert said in obstacle(tmp_path, code.replace("FOLDER", repr(str(tmp_path / "dags"))))


def test_what_goes_wrong_in_airflow_is_shown_as_airflow_shows_it(tmp_path: Path) -> None:
    """Without frames of ours, which would differ between a fork and a start of its own."""
    script = """
from aerodrome_airflow import __main__ as command_line

def fails(arguments):
    import json
    json.loads("{" + arguments[0])

command_line.run = fails
command_line.main(["x"])
"""
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "script.py" in lines[1]
    assert lines[-1].startswith("json.decoder.JSONDecodeError")
    assert "aerodrome_airflow" not in done.stderr

"""Options that change while a component runs, as its processes find them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aerodrome.vault import DataKey
from aerodrome_airflow import options

KEY = b"o" * 32

PROGRAM = """
import base64, json, os, sys
from aerodrome_airflow import options
options.install()
shown = [dict(os.environ)]
for step in json.loads(sys.argv[1]):
    if step is not None:
        with open(os.environ["AERODROME_OPTIONS"] + ".new", "wb") as file:
            file.write(base64.b64decode(step))
        os.replace(file.name, os.environ["AERODROME_OPTIONS"])
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, json.dumps(dict(os.environ)).encode())
        os._exit(0)
    os.wait()
    shown.append(json.loads(os.read(read, 65536)))
shown.append(dict(os.environ))
print(json.dumps([{k: v for k, v in each.items() if k.startswith("AIRFLOW__")} for each in shown]))
"""


def sealed(content: dict[str, str] | str, key: bytes = KEY) -> bytes:
    text = content if isinstance(content, str) else json.dumps(content)
    return DataKey(key).seal(text.encode(), "options")


def seen(path: Path, *steps: dict[str, str] | bytes | None) -> list[dict[str, str]]:
    """What a process finds at its start, what its child finds after each step, what itself finds in the end."""
    files = [sealed(step) if isinstance(step, dict) else step for step in steps]
    texts = [None if file is None else base64.b64encode(file).decode() for file in files]
    variables = {"PATH": os.environ["PATH"], "AERODROME_OPTIONS": str(path), "AIRFLOW__CORE__OWN": "own"}
    variables["AERODROME_OPTIONS_KEY"] = base64.urlsafe_b64encode(KEY).decode()
    variables["PYTHONPATH"] = str(Path(options.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(texts)], env=variables, capture_output=True, text=True, check=True
    )
    found: list[dict[str, str]] = json.loads(done.stdout)
    assert all(each.pop("AIRFLOW__CORE__OWN") == "own" for each in found)
    return found


ONE, TWO = {"AIRFLOW__A__B": "1", "AIRFLOW__A__C": "x"}, {"AIRFLOW__A__B": "2"}


def test_a_child_finds_what_changed_and_not_what_was_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "worker.sealed"
    path.write_bytes(sealed(ONE))
    assert seen(path, None, TWO, None, ONE) == [ONE, ONE, TWO, TWO, ONE, ONE]


BROKEN = {
    "empty": b"",
    "torn": b"{",
    "plain": json.dumps(TWO).encode(),
    "cut": sealed(TWO)[:-1],
    "no json": sealed("no json"),
    "another key": sealed(TWO, b"x" * 32),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=list(BROKEN))
def test_a_file_that_cannot_be_read_changes_nothing(tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "worker.sealed"
    path.write_bytes(sealed(ONE))
    assert seen(path, broken, TWO) == [ONE, ONE, TWO, ONE]


def test_without_a_file_there_is_nothing_until_there_is_one(tmp_path: Path) -> None:
    assert seen(tmp_path / "worker.sealed", None, TWO) == [{}, {}, TWO, {}]

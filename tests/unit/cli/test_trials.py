"""Usage of the commands that try things; what they do is tried with a real runtime (tests/integration/runtimes)."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from aerodrome.cli.main import app


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "requirements.txt").write_text("six\n")
    return tmp_path / "requirements.txt"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["requirements", "test", "MISSING"], "does not exist"),
        (["requirements", "test", "FILE", "--plugins", "MISSING"], "does not exist"),
        (["requirements", "test", "FILE", "--dags", "FILE"], "is a file"),
        (["requirements", "package", "FILE"], "--to"),
        (["requirements", "package", "FILE", "--to", "FOLDER"], "name another folder"),
        (["requirements", "package", "FILE", "--to", "ELSEWHERE", "--machine", "sparc"], "x86_64, aarch64"),
        (["startup", "test", "FILE", "--component", "triggerer"], "webserver, scheduler, worker"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage(words: list[str], why: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    places = {"FILE": file, "FOLDER": file.parent, "MISSING": file / "missing", "ELSEWHERE": file.parent / "to"}
    done = CliRunner().invoke(app, [str(places.get(word, word)) for word in words])
    assert done.exit_code == 2
    assert why in done.output
    assert sorted(path.name for path in file.parent.iterdir()) == ["requirements.txt"]

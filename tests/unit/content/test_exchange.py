"""Two directories change places, with the system call and without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from aerodrome import files


def folder(path: Path, name: str) -> Path:
    path.mkdir()
    (path / name).touch()
    return path


@pytest.mark.parametrize("supported", [True, False])
def test_they_change_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    if not supported:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    new, place = folder(tmp_path / "new", "n"), folder(tmp_path / "place", "o")
    assert files.put_in_place(new, place)
    assert [path.name for path in place.iterdir()] == ["n"]
    assert [path.name for path in new.iterdir()] == ["o"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "place"]


def test_the_first_one_only_moves(tmp_path: Path) -> None:
    new = folder(tmp_path / "new", "n")
    assert not files.put_in_place(new, tmp_path / "place")
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_a_failure_is_an_os_error_that_names_both(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="place") as caught:
        files.put_in_place(tmp_path / "missing", folder(tmp_path / "place", "o"))
    assert caught.value.filename == str(tmp_path / "missing")

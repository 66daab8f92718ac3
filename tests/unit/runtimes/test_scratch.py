"""Folders for what uv reads: private, and gone whatever becomes of their owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aerodrome.layout import Layout
from aerodrome.runtimes.scratch import scratch

_DIES = """
import os, signal, sys
from pathlib import Path
from aerodrome.layout import Layout
from aerodrome.runtimes.scratch import scratch
with scratch(Layout(Path(sys.argv[1]))) as folder:
    (folder / "in.txt").write_text("https://user:secret@index")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    made.run.mkdir(parents=True)
    return made


def test_nobody_else_may_enter_and_it_is_gone_afterwards(layout: Layout) -> None:
    with scratch(layout) as folder:
        (folder / "in.txt").touch()
        assert {path.stat().st_mode & 0o077 for path in (folder, folder.parent)} == {0}
    assert not list(folder.parent.iterdir())


def test_it_is_gone_after_an_error(layout: Layout) -> None:
    with pytest.raises(ZeroDivisionError), scratch(layout) as folder:
        raise ZeroDivisionError
    assert not folder.exists()


def test_what_a_kill_left_goes_with_the_next_and_what_is_held_stays(layout: Layout) -> None:
    with scratch(layout) as mine:
        died = subprocess.run([sys.executable, "-c", _DIES, str(layout.home)], check=False, env=os.environ)
        assert died.returncode == -signal.SIGKILL
        assert len(list(mine.parent.iterdir())) == 2, "a kill leaves it"
        with scratch(layout) as next_one:
            assert set(mine.parent.iterdir()) == {mine, next_one}

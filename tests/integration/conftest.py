from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.house import DRIVER


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder with a short path that every user can enter."""
    path = Path(tempfile.mkdtemp(prefix="aero-", dir="/tmp"))
    path.chmod(0o755)
    shutil.copy2(DRIVER, path / "drive.py")
    yield path
    shutil.rmtree(path)

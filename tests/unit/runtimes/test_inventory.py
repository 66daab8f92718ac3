"""What is missing of a runtime, and when we look."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aerodrome.layout import Layout
from aerodrome.runtimes import inventory
from aerodrome.runtimes.key import MARKER
from aerodrome.runtimes.soundness import Soundness

KEY = "3.3.1-py3.11-0123456789ab"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A home with one small runtime."""
    layout = Layout(tmp_path)
    make_runtime(layout)
    return layout


def make_runtime(layout: Layout) -> None:
    root = layout.runtime(KEY)
    package = root / "lib" / "site-packages" / "airflow"
    (package / "__pycache__").mkdir(parents=True, exist_ok=True)
    (root / "bin").mkdir(exist_ok=True)
    (root / "bin" / "python").symlink_to(sys.executable)
    (package / "__init__.py").write_text("version = 3")
    (package / "cli.py").write_text("def main(): ...")
    (package / "__pycache__" / "cli.cpython-311.pyc").write_bytes(b"\0" * 40)
    (package / "empty.py").touch()
    inventory.complete(root, KEY)


def remove(root: Path) -> None:
    (root / "lib/site-packages/airflow/cli.py").unlink()


def cut_short(root: Path) -> None:
    os.truncate(root / "lib/site-packages/airflow/cli.py", 3)


def cut_bytecode(root: Path) -> None:
    os.truncate(root / "lib/site-packages/airflow/__pycache__/cli.cpython-311.pyc", 0)


def remove_folder(root: Path) -> None:
    (root / "lib/site-packages/airflow").rename(root / "elsewhere")


def remove_python(root: Path) -> None:
    (root / "bin" / "python").unlink()
    (root / "bin" / "python").symlink_to("/usr/bin/python2.6")


def halve_marker(root: Path) -> None:
    os.truncate(root / MARKER, (root / MARKER).stat().st_size // 2)


def empty_marker(root: Path) -> None:
    os.truncate(root / MARKER, 0)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (remove, "1 file missing, first lib/site-packages/airflow/cli.py"),
        (cut_short, "1 file of another size, first lib/site-packages/airflow/cli.py"),
        (cut_bytecode, "1 file of another size, first lib/site-packages/airflow/__pycache__/cli.cpython-311.pyc"),
        (remove_folder, "4 files missing, first lib/site-packages/airflow/__init__.py"),
        (remove_python, "its Python, /usr/bin/python2.6, is gone"),
        (halve_marker, "its list of files is damaged"),
        (empty_marker, "its marker names the runtime ''"),
    ],
)
def test_every_damage_is_seen_and_named(layout: Layout, harm: Callable[[Path], None], said: str) -> None:
    assert inventory.damage(layout, KEY) is None
    harm(layout.runtime(KEY))
    assert inventory.damage(layout, KEY) == said


def test_what_comes_later_is_no_damage(layout: Layout) -> None:
    root = layout.runtime(KEY)
    (root / "lib/site-packages/airflow/__pycache__/other.cpython-311.pyc").write_bytes(b"x")
    os.utime(root / "lib/site-packages/airflow/cli.py", (1, 1))  # a restore from a backup does that
    assert inventory.damage(layout, KEY) is None


def test_the_list_grows_and_forgets_nothing(layout: Layout) -> None:
    root = layout.runtime(KEY)
    late = root / "lib/site-packages/airflow/__pycache__/late.cpython-311.pyc"
    late.write_bytes(b"x" * 20)
    late.with_name("half.cpython-311.pyc.1403").write_bytes(b"x")
    remove(root)
    inventory.complete(root, KEY)
    assert inventory.damage(layout, KEY) == "1 file missing, first lib/site-packages/airflow/cli.py"
    os.truncate(late, 3)
    assert "late.cpython" in (inventory.damage(layout, KEY) or "")


def test_a_runtime_without_a_list_is_let_be(layout: Layout) -> None:
    root = layout.runtime(KEY)
    (root / MARKER).write_text(f"{KEY}\n")
    remove(root)
    assert inventory.damage(layout, KEY) is None
    assert inventory.interface(root) == 1
    remove_python(root)
    assert "is gone" in (inventory.damage(layout, KEY) or "")


def test_the_interface_is_read_from_the_marker(layout: Layout) -> None:
    root = layout.runtime(KEY)
    assert inventory.interface(root) == inventory.INTERFACE
    text = (root / MARKER).read_text()
    (root / MARKER).write_text(text.replace(f"interface={inventory.INTERFACE}", "interface=99", 1))
    assert inventory.interface(root) == 99
    (root / MARKER).unlink()
    assert inventory.interface(root) is None


def test_packages_are_checked_against_their_records(tmp_path: Path) -> None:
    for name, text in (("good", b"1"), ("bad", b"2"), ("lost", b"3")):
        digest = base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()
        (tmp_path / f"{name}.py").write_bytes(text)
        record = tmp_path / f"{name}_x-1.0.dist-info" / "RECORD"
        record.parent.mkdir()
        record.write_text(
            f"{name}.py,sha256={digest},1\n../../bin/{name},sha256=0,1\n{name}_x-1.0.dist-info/RECORD,,\n"
        )
    (tmp_path / "bad.py").write_bytes(b"9")
    (tmp_path / "lost.py").unlink()
    assert inventory.wrong_packages(tmp_path) == ["bad_x", "lost_x"]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def settled(soundness: Soundness) -> str | None:
    """After the look that goes on beside."""
    await soundness.damage(KEY)
    for _ in range(200):
        known = soundness._runtimes.get(KEY)
        if known is None or known.look is None or known.look.done():
            break
        await asyncio.sleep(0.01)
    return await soundness.damage(KEY)


async def test_the_first_use_takes_a_look(layout: Layout) -> None:
    remove(layout.runtime(KEY))
    assert await settled(Soundness(layout)) == "1 file missing, first lib/site-packages/airflow/cli.py"


async def test_no_look_without_a_reason(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = list[str]()
    look = inventory.damage
    monkeypatch.setattr(inventory, "damage", lambda layout, key: looks.append(key) or look(layout, key))
    clock = Clock()
    soundness = Soundness(layout, clock)
    assert await settled(soundness) is None
    for _ in range(5):
        assert await soundness.damage(KEY) is None
        clock.now += 1000
    assert len(looks) == 1
    remove(layout.runtime(KEY))
    assert await soundness.damage(KEY) is None, "nobody has looked"
    assert "missing" in (await soundness.damage(KEY, suspicious=True) or "")
    assert len(looks) == 2


async def test_what_keeps_ending_is_looked_at_now_and_then(layout: Layout) -> None:
    clock = Clock()
    soundness = Soundness(layout, clock)
    assert await soundness.damage(KEY, suspicious=True) is None
    remove(layout.runtime(KEY))
    clock.now += 29
    assert await soundness.damage(KEY, suspicious=True) is None
    clock.now += 2
    assert await soundness.damage(KEY, suspicious=True) is not None


async def test_a_rebuild_is_seen_at_once_and_settles(layout: Layout) -> None:
    clock = Clock()
    soundness = Soundness(layout, clock)
    remove(layout.runtime(KEY))
    assert await soundness.damage(KEY, suspicious=True) is not None
    assert not soundness.is_settling(KEY)
    layout.runtime(KEY).rename(layout.runtimes / "old")
    assert await soundness.damage(KEY) is None, "what isn't there isn't damaged"
    make_runtime(layout)
    assert await soundness.damage(KEY) is None
    assert soundness.is_settling(KEY)
    clock.now += 61
    assert not soundness.is_settling(KEY)


async def test_what_was_mended_by_hand_is_noticed(layout: Layout) -> None:
    clock = Clock()
    soundness = Soundness(layout, clock)
    remove(layout.runtime(KEY))
    assert await soundness.damage(KEY, suspicious=True) is not None
    (layout.runtime(KEY) / "lib/site-packages/airflow/cli.py").write_text("def main(): ...")
    clock.now += 31
    assert await soundness.damage(KEY) is None

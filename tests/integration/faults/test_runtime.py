"""A damaged runtime is built again under its name by the real uv, with a lock of four small packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aerodrome.domain import versions
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.runtimes import build, inventory, key

VERSION = versions.DEFAULT_VERSION
PACKAGES = ("six", "tabulate", "termcolor", "colorlog")
NOWHERE = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:1") | {
    "NO_PROXY": "",
    "UV_HTTP_RETRIES": "0",
}
# Imports something that was not imported before, again and again, as tasks do.
IMPORTER = """
import pathlib, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
opened = open(sys.prefix + "/bin/tabulate")
while not (folder / "enough").exists():
    for name in ("six", "colorlog", "termcolor"):
        sys.modules.pop(name, None)
        __import__(name)
    subprocess.run([sys.executable, "-c", "import colorlog, six"], check=True)
    (folder / "ready").touch()
opened.seek(0)
assert opened.readline().startswith("#!")
"""


@dataclass
class Small:
    layout: Layout
    python: str = field(default_factory=lambda: key.choose_python(versions.get(VERSION), as_other_user=False)[1])

    def build(self) -> str:
        return build.build(self.layout, VERSION, self.python)

    def __post_init__(self) -> None:
        self.root = self.layout.runtime(self.build())

    @property
    def site(self) -> Path:
        return next(self.root.glob("lib/python*/site-packages"))

    def damage(self) -> str | None:
        return inventory.damage(self.layout, self.root.name)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Small]:
    whole = key.lock_text

    def few(version: str, python: str) -> str:
        text = whole(version, python)
        found = [re.search(rf"^{name}==.*\\\n(    --hash=.*\n)+", text, re.MULTILINE) for name in PACKAGES]
        return "".join(match[0] for match in found if match).replace(" \\\n    #", "\n    #")

    for module in (key, build):
        monkeypatch.setattr(module, "lock_text", few)
    home = Path(tempfile.mkdtemp(prefix="aero-", dir="/tmp"))
    home.chmod(0o755)
    before = os.umask(0o022)
    yield Small(Layout(home))
    os.umask(before)
    shutil.rmtree(home)


def remove(small: Small) -> None:
    (small.site / "six.py").unlink()


def cut_short(small: Small) -> None:
    """As the file shares its place on disk with the cache, the cache is damaged too."""
    os.truncate(small.site / "six.py", 100)


def remove_program(small: Small) -> None:
    (small.root / "bin" / "tabulate").unlink()


def cut_ours(small: Small) -> None:
    os.truncate(small.site / "aerodrome_airflow" / "__main__.py", 0)


def remove_interpreter(small: Small) -> None:
    (small.root / "bin" / "python").unlink()
    (small.root / "bin" / "python").symlink_to("/usr/bin/python2.6")


def cut_marker(small: Small) -> None:
    marker = small.root / key.MARKER
    os.truncate(marker, marker.stat().st_size // 2)


def remove_nearly_all(small: Small) -> None:
    shutil.rmtree(small.site)


@pytest.mark.parametrize(
    "harm", [remove, cut_short, remove_program, cut_ours, remove_interpreter, cut_marker, remove_nearly_all]
)
def test_what_is_damaged_is_rebuilt_under_its_name(small: Small, harm: Callable[[Small], None]) -> None:
    root = small.root
    before = inventory.take(root)
    harm(small)
    assert small.damage() is not None
    small.build()
    assert small.damage() is None
    assert inventory.take(root) == before
    # Nothing in it knows the name under which it was made.
    assert (root / "bin" / "tabulate").read_text().startswith(f"#!{root}/bin/python\n")
    assert not subprocess.run(["grep", "-rlF", f".{root.name}.new", root], capture_output=True, check=False).stdout
    assert subprocess.run([root / "bin" / "tabulate", "--help"], capture_output=True, check=False).returncode == 0
    assert sorted(path.name for path in root.parent.iterdir()) == [f".{root.name}.lock", root.name]


def test_a_missing_file_needs_no_network(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    remove(small)
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    small.build()
    assert small.damage() is None


def test_a_damaged_cache_without_network_is_said_and_keeps_what_is_there(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = small.root
    cut_short(small)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in NOWHERE.items():
            patch.setenv(name, value)
        with pytest.raises(Permanent, match="the package registry can't be reached"):
            small.build()
    assert (root / "bin" / "tabulate").exists(), "what runs in it goes on with what is left"
    small.build()
    assert small.damage() is None


def test_what_runs_in_it_never_misses_a_file(small: Small) -> None:
    root = small.root
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        running = subprocess.Popen([root / "bin" / "python", "-c", IMPORTER, name], stderr=subprocess.PIPE, text=True)

        def imports() -> None:
            """Wait until it has imported everything once more."""
            (folder / "ready").unlink(missing_ok=True)
            deadline = time.monotonic() + 30
            while not (folder / "ready").exists() and running.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.02)

        for _ in range(3):
            imports()
            remove_program(small)
            small.build()
            assert small.damage() is None
        imports()
        (folder / "enough").touch()
        errors = running.communicate(timeout=30)[1]
    assert running.returncode == 0, errors


@pytest.mark.parametrize(
    ("moment", "after"),
    [("_replace_wrong", False), ("move_scripts", True), ("put_in_place", False), ("put_in_place", True)],
)
def test_a_rebuild_that_was_killed_is_done_again(
    small: Small, monkeypatch: pytest.MonkeyPatch, moment: str, after: bool
) -> None:
    class Killed(BaseException):
        pass

    root = small.root
    remove(small)
    function = getattr(build, moment)

    def dies(*arguments: object, **named: object) -> None:
        if after:
            function(*arguments, **named)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, moment, dies)
        with pytest.raises(Killed):
            small.build()
    assert (root / "bin" / "tabulate").exists()
    small.build()
    assert small.damage() is None
    assert sorted(path.name for path in root.parent.iterdir()) == [f".{root.name}.lock", root.name]


def test_another_release_on_disk_makes_no_other_runtime(small: Small) -> None:
    """The control plane runs on as it was started; what it asks for and never gets, it would ask for again for ever."""
    with pytest.raises(Permanent, match=r"was upgraded on disk .* Run `aerodrome up`"):
        build.build(small.layout, VERSION, small.python, f"{VERSION}-py3.11-000000000000")
    assert build.build(small.layout, VERSION, small.python, small.root.name) == small.root.name


def test_damage_is_mended_before_the_rest_is_compiled(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """That takes half a minute and more on a busy machine, and components need the file now."""
    (small.root / build._COMPILED).unlink()
    monkeypatch.setattr(build, "_WATCH", 0.05)
    compile_, slow = build._compile, [True]

    def compiles(target: Path, *options: str, **named: Any) -> bool:
        if named.get("nice") and slow[0]:
            slow[0] = False
            remove(small)
            program = small.root / "bin" / "python"
            kept = program.with_name("kept")
            program.rename(kept)
            program.write_text("#!/bin/sh\nexec sleep 60\n")  # stands in for the compiler at work
            program.chmod(0o755)
        return compile_(target, *options, **named)

    monkeypatch.setattr(build, "_compile", compiles)
    started = time.monotonic()
    small.build()
    assert time.monotonic() - started < 30
    assert small.damage() is None
    assert (small.root / build._COMPILED).exists()


def test_packages_that_stay_wrong_are_named(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small.root
    remove(small)
    monkeypatch.setattr(inventory, "wrong_packages", lambda _: ["six"])
    with pytest.raises(Permanent, match=r"files of six differ .* Is the disk failing\?"):
        small.build()
    assert (root / "bin" / "tabulate").exists()

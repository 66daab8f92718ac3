import asyncio
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerodrome.errors import Permanent
from aerodrome.files import ensure_directory, own_tree, write_file
from aerodrome.layout import Layout
from aerodrome.machineroom import home, lock, programs
from aerodrome.machineroom.pythons import enterable_by_others, public_python

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def layout() -> Iterator[Layout]:
    """Below /tmp, since pytest's own directories are closed to others."""
    path = Path("/tmp", f"aero-{secrets.token_hex(4)}")
    yield Layout(path)
    if path.exists():
        shutil.rmtree(path)


def test_the_modes_keep_parts_apart(layout: Layout) -> None:
    home.check_home(layout)
    home.make_home(layout)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in layout.home.iterdir()}
    assert modes["secrets"] == "0o700"
    assert modes["log"] == "0o700"
    assert modes["machine"] == "0o755"
    assert layout.home.stat().st_mode & 0o777 == (0o711 if os.geteuid() == 0 else 0o700)
    assert layout.master_key.stat().st_mode & 0o777 == 0o600
    assert len(layout.master_key.read_bytes()) == 32


def test_the_master_key_is_made_once_and_never_again_over_environments(layout: Layout) -> None:
    home.make_home(layout)
    key = layout.master_key.read_bytes()
    home.make_home(layout)
    assert layout.master_key.read_bytes() == key
    layout.environment("0123456789ab").mkdir()
    layout.master_key.unlink()
    with pytest.raises(Permanent, match=r"master\.key is gone"):
        home.make_home(layout)


def test_a_long_path_is_refused() -> None:
    with pytest.raises(Permanent, match="too long"):
        home.check_home(Layout(Path("/tmp", "x" * 100)))


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(Permanent, match="not a directory"):
        home.check_home(Layout(tmp_path / "home"))


@as_root
def test_the_home_of_another_user_is_refused(layout: Layout) -> None:
    layout.home.mkdir()
    os.chown(layout.home, 65534, 65534)
    with pytest.raises(Permanent, match="belongs to nobody, and you are root"):
        home.check_home(layout)


@as_root
def test_root_needs_a_place_that_system_users_can_enter(layout: Layout) -> None:
    layout.home.mkdir(mode=0o700)
    with pytest.raises(Permanent, match="other users can't enter"):
        home.check_home(Layout(layout.home / "below"))


@as_root
def test_a_tree_changes_hands(layout: Layout) -> None:
    layout.home.mkdir()
    ensure_directory(layout.postgres, 0o700)
    write_file(layout.postgres / "file", "x")
    own_tree(layout.postgres, (65534, 65534))
    assert {(layout.postgres / name).stat().st_uid for name in (".", "file")} == {65534}


def test_a_python_for_others() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = public_python([version, "3.11"])
    assert os.access(found, os.X_OK)
    if os.geteuid() == 0:
        assert enterable_by_others(found.parent)


def test_no_python_of_that_version() -> None:
    with pytest.raises(Permanent, match=r"No Python 2\.6 or 2\.7"):
        public_python(["2.6", "2.7"])


def test_uv_is_found() -> None:
    assert os.access(home.uv_program(), os.X_OK)


def test_files_are_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, "one", 0o640)
    assert path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(TypeError):
        write_file(path, 5)  # type: ignore[arg-type]
    assert path.read_text() == "one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_programs_appear_whole_and_open_to_all(layout: Layout, tmp_path: Path) -> None:
    home.make_home(layout)
    source = tmp_path / "bin"
    source.mkdir(mode=0o700)
    (source / "server").write_text("#!/bin/sh\n")
    (source / "server").chmod(0o700)
    (source / "data").write_text("")
    (source / "data").chmod(0o600)
    (layout.machine / ".thing-1.0.01234567").mkdir()
    programs.sweep(layout)
    folder = programs.install(layout, "thing-1.0", {"deep/bin": source})
    assert [path.name for path in layout.machine.iterdir()] == ["thing-1.0"]
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (folder / "deep").rglob("*")}
    assert modes == {"bin": "0o755", "server": "0o755", "data": "0o644"}
    (source / "server").write_text("changed")
    programs.install(layout, "thing-1.0", {"deep/bin": source})
    assert (folder / "deep" / "bin" / "server").read_text() == "#!/bin/sh\n"


async def test_one_command_at_a_time(layout: Layout) -> None:
    layout.home.mkdir()
    order: list[str] = []
    waits = asyncio.Event()

    def notice(text: str) -> None:
        order.append(text)
        waits.set()

    async def second() -> None:
        async with lock.only_us(layout, "down", notice):
            order.append("second")

    async with lock.only_us(layout, "up", notice):
        task = asyncio.create_task(second())
        await waits.wait()
        order.append("first")
    await task
    told = f"Waiting for the `aerodrome up` of process {os.getpid()}, which works on this installation."
    assert order == [told, "first", "second"]

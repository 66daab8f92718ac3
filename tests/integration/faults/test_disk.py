"""A disk that is full, and one that can't be written: said plainly, survived, and gone on from without loss."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from aerodrome.files import write_file
from support.house import House
from support.stores import Stores

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")

Mount = Callable[[str], Path]


@pytest.fixture
def mount(place: Path) -> Iterator[Mount]:
    """Mounts a small disk in memory: options as of tmpfs(5). Everything on it must have ended by the end."""
    folders: list[Path] = []

    def make(options: str) -> Path:
        folders.append(place / f"d{secrets.token_hex(3)}")
        folders[-1].mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=755,{options}", "none", folders[-1]], check=True)
        return folders[-1]

    yield make
    for folder in folders:
        subprocess.run(["umount", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def fill(folder: Path) -> Path:
    """Take all that is left of the disk."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    usage = os.statvfs(folder)
    assert usage.f_bavail == 0, "the disk isn't full"
    return filler


def test_a_file_that_has_no_room_leaves_the_one_before(mount: Mount) -> None:
    folder = mount("size=64k")
    write_file(folder / "kept", "before")
    fill(folder)
    with pytest.raises(OSError, match="No space left"):
        write_file(folder / "kept", "after" * 10_000)
    assert (folder / "kept").read_text() == "before"
    assert sorted(path.name for path in folder.iterdir()) == ["filler", "kept"]


@pytest.fixture
def on_small_disk(mount: Mount, make_house: Callable[..., House], installed: Path) -> tuple[House, Path]:
    disk = mount("size=20m")
    return make_house(disk / "home"), disk


def test_an_installation_on_a_full_disk(on_small_disk: tuple[House, Path], installed: Path) -> None:
    house, disk = on_small_disk
    output = house.run("up", "--detach", code=1)
    assert f"The disk is full. Free some space on the file system of {house.home}" in output
    assert "Traceback" not in output
    remount(disk, "size=900m")
    house.layout.machine.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", f"{installed}/.", house.layout.machine], check=True)
    house.run("up", "--detach")
    stores = Stores(house)
    assert stores.write("before") == {"postgres", "valkey", "s3"}

    filler = fill(disk)
    took = [stores.write(f"full-{number}") for number in range(3)]
    assert any("s3" not in each for each in took), "the disk isn't full"
    assert house.status()["endpoint"] == house.installation.endpoint
    filler.unlink()

    deadline = time.monotonic() + 60  # a store that ended is started again after a pause that grows
    while stores.write("after") != {"postgres", "valkey", "s3"}:
        assert time.monotonic() < deadline, "not everything goes on by itself once there is room"
        time.sleep(0.5)
    assert stores.lost() == {}
    house.run("down", "--now")

    remount(disk, "ro")
    output = house.run("up", "--detach", code=1)
    assert "is mounted read-only" in output
    assert "Traceback" not in output
    remount(disk, "rw")
    house.run("up", "--detach")
    assert stores.lost() == {}

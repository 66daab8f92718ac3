"""A machine room of our own user in a short-lived home, made once and copied: its programs are installed once."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.house import House, Person


@pytest.fixture(scope="session")
def installed(place: Path) -> Path:
    """What a first `up` installs, to be linked into other homes."""
    house = _house(place)
    try:
        house.run("up", "--detach")
    finally:
        house.run("down", "--now")
        subprocess.run(["cp", "-al", house.layout.machine, place / "machine"], check=True)
        house.run("purge", "--yes")
    return place / "machine"


@pytest.fixture
def make_house(place: Path, installed: Path) -> Iterator[Callable[..., House]]:
    """Makes homes with everything installed; whatever a test leaves in them is taken down and removed."""
    houses: list[House] = []

    def make(home: Path | None = None, **variables: str) -> House:
        houses.append(_house(place, home, **variables))
        if home is None:
            subprocess.run(["cp", "-al", installed, houses[-1].layout.machine], check=True)
        return houses[-1]

    yield make
    for house in houses:
        if house.layout.installation_file.exists():
            house.run("down", "--now")
            house.run("purge", "--yes")
        if house.home.exists():
            shutil.rmtree(house.home)


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    return make_house()


def _house(place: Path, home: Path | None = None, **variables: str) -> House:
    me = pwd.getpwuid(os.geteuid())
    home = home or place / f"h{secrets.token_hex(3)}"
    home.mkdir(mode=0o711, exist_ok=True)
    return House(Person(me.pw_name, me.pw_uid, me.pw_gid, Path(sys.executable)), home, place / "drive.py", variables)

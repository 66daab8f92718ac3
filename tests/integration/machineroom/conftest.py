"""Installations of root and of an ordinary user."""

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

from aerodrome.machineroom import users
from support.house import House, Person, python_for_others


@pytest.fixture(scope="session", params=["root", "ordinary"])
def person(request: pytest.FixtureRequest, place: Path) -> Iterator[Person]:
    """Each kind of user in turn; without root there is only one kind."""
    me = pwd.getpwuid(os.geteuid())
    if os.geteuid() != 0 or request.param == "root":
        if os.geteuid() != 0 and request.param == "root":
            pytest.skip("these tests run as an ordinary user")
        yield Person(me.pw_name, me.pw_uid, me.pw_gid, Path(sys.executable))
        return
    name = f"aerotest{secrets.token_hex(3)}"
    users.ensure_user(name)
    entry = pwd.getpwnam(name)
    try:
        yield Person(name, entry.pw_uid, entry.pw_gid, python_for_others(place))
    finally:
        users.remove_user(name)


@pytest.fixture(scope="session")
def installed(person: Person, place: Path) -> Path:
    """Where the first test leaves the installed programs for the others, which then start in seconds."""
    path = place / f"machine-of-{person.name}"
    path.mkdir()
    os.chown(path, person.uid, person.gid)
    return path


@pytest.fixture
def make_house(person: Person, place: Path, installed: Path) -> Iterator[Callable[..., House]]:
    """Makes homes; everything in them is taken down and removed afterwards, whatever the test left."""
    houses: list[House] = []

    def make(**variables: str) -> House:
        home = place / f"h{secrets.token_hex(3)}"
        home.mkdir(mode=0o711)
        os.chown(home, person.uid, person.gid)
        houses.append(House(person, home, place / "drive.py", variables))
        if any(installed.iterdir()):
            _link(person, installed, houses[-1].layout.machine)
        return houses[-1]

    yield make
    for house in houses:
        if house.layout.installation_file.exists():
            house.run("down", "--now")
            if not any(installed.iterdir()):
                _link(person, house.layout.machine, installed)
            house.run("purge", "--yes")
        if house.home.exists():
            shutil.rmtree(house.home)


def _link(person: Person, source: Path, target: Path) -> None:
    """Copy a tree as hard links, as its owner."""
    script = 'mkdir -p "$2" && cp -al "$1/." "$2/"'
    subprocess.run(["/bin/sh", "-c", script, "sh", str(source), str(target)], check=True, **person.switch)


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    return make_house()

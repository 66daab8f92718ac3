"""An ordinary user's installation without the sandbox: what holds there all the same, and what the docs say doesn't."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerodrome.domain import versions
from aerodrome.machineroom import shell, users
from support.attacks import SUCCEEDED
from support.house import python_for_others
from support.postgres import free_port
from support.site import Demo, Site

from .test_isolation import attack, check_refusals
from .test_planted_secrets import coming, live, tell

OTHERS = [number for number in versions.VERSIONS if number != versions.DEFAULT_VERSION]
PORTS = ("PORT", "GATEWAY_PORT", "PRIVATE_GATEWAY_PORT", "POSTGRES_PORT", "VALKEY_PORT", "CLOUD_PORT")
# Files and processes are the same user's: security.md promises nothing of them.
OPEN = {"its neighbour's DAGs", "its neighbour's home", "its neighbour's variables", "the master key", "the supervisor"}


@pytest.fixture(scope="module")
def person() -> Iterator[pwd.struct_passwd]:
    """Ourselves, or somebody made for these tests when we are root."""
    if os.geteuid() != 0:
        yield pwd.getpwuid(os.geteuid())
        return
    name = f"aerotest{secrets.token_hex(3)}"
    users.ensure_user(name)
    try:
        yield pwd.getpwnam(name)
    finally:
        users.remove_user(name)


@pytest.fixture(scope="module")
def theirs(person: pwd.struct_passwd) -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="aero-e2e-", dir="/tmp"))
    folder.chmod(0o755)
    home = folder / "home"
    home.mkdir(mode=0o711)
    os.chown(home, person.pw_uid, person.pw_gid)
    site = Site(home, settings={"AERODROME_SANDBOX": "off"} | {f"AERODROME_{name}": str(free_port()) for name in PORTS})
    if person.pw_uid != os.geteuid():
        site.python = python_for_others(folder)
        site.switch = {"user": person.pw_uid, "group": person.pw_gid, "extra_groups": ()}
    try:
        site.demo_output = site.aerodrome("demo").stdout
        site.variables = shell.variables(site.layout, site.installation)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_DISABLE_HOST_PREFIX_INJECTION", "true")
            patch.delenv("AWS_CA_BUNDLE", raising=False)
            yield site
    finally:
        site.aerodrome("down", "--now", check=False)
        site.aerodrome("purge", "--yes", check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def neighbours(theirs: Site) -> list[Demo]:
    """One of each version."""
    made = [Demo(theirs, "demo", versions.get(versions.DEFAULT_VERSION), theirs.demo_output)]
    for number in OTHERS:
        name = f"demo-{number.replace('.', '-')}"
        done = theirs.aerodrome("demo", "--name", name, "--airflow-version", number)
        made.append(Demo(theirs, name, versions.get(number), done.stdout))
    return made


@pytest.mark.parametrize("number", versions.VERSIONS)
def test_what_servers_guard_holds_and_what_the_system_would_does_not(neighbours: list[Demo], number: str) -> None:
    (attacker,) = (each for each in neighbours if each.version.version == number)
    outcome = attack(attacker, next(each for each in neighbours if each is not attacker))
    check_refusals(outcome)
    succeeded = {name for name, said in outcome.items() if said == SUCCEEDED}
    assert succeeded >= OPEN, "it holds now: promise it in security.md"


def test_planted_secrets_are_nowhere_to_be_read(
    theirs: Site, person: pwd.struct_passwd, capsys: pytest.CaptureFixture[str]
) -> None:
    with coming(theirs, OTHERS[-1]) as demo:
        search = live(demo, person.pw_uid)
    with capsys.disabled():
        tell(search)
    assert search.found == set()

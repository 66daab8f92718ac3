"""Files of the installation that were cut short at any place: mended, or refused by name."""

from __future__ import annotations

import hashlib
import os
import resource
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from aerodrome import pki
from aerodrome.backends.places import Ports
from aerodrome.domain.component import Component, ComponentKind
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.machineroom import home, prepare, valkey
from aerodrome.machineroom.installation import load
from aerodrome.machineroom.prepare import Wanted
from aerodrome.machineroom.users import Owner
from aerodrome.pki.authority import key_file
from support.homes import home_with_key

WANTED = Wanted(account="100000000001", region="us-east-1", web_host="address")
ME = Owner(os.geteuid(), os.getegid())


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return home_with_key(tmp_path)


def cuts(data: bytes, step: int = 7) -> list[bytes]:
    """The text cut short at many places, at its end's line break not: that is whole."""
    return [data[:length] for length in range(0, len(data.rstrip()), step)]


@pytest.mark.parametrize("which", ["installation_file", "installation_copy"])
async def test_the_installation_is_read_from_its_copy(layout: Layout, which: str) -> None:
    made = (await prepare.prepare(layout, WANTED)).installation
    path = getattr(layout, which)
    whole = path.read_bytes()
    for torn in (b"", whole[: len(whole) // 2], b"\xff\xfe"):
        path.write_bytes(torn)
        assert load(layout) == made
        prepared = await prepare.prepare(layout, WANTED)
        assert prepared.installation == made
        assert any("was damaged" in notice for notice in prepared.notices)
        assert path.read_bytes() == whole
        assert path.stat().st_mode & 0o777 == 0o600
    assert not any("was damaged" in notice for notice in (await prepare.prepare(layout, WANTED)).notices)


async def test_an_installation_of_an_earlier_release_gets_its_copy(layout: Layout) -> None:
    made = (await prepare.prepare(layout, WANTED)).installation
    layout.installation_copy.unlink()
    assert (await prepare.prepare(layout, WANTED)).installation == made
    assert layout.installation_copy.read_bytes() == layout.installation_file.read_bytes()


def test_a_master_key_that_was_cut_short_is_refused(layout: Layout) -> None:
    home.make_home(layout)
    whole = layout.master_key.read_bytes()
    for torn in (b"", whole[:16], whole + b"\n"):
        layout.master_key.write_bytes(torn)
        with pytest.raises(Permanent, match=rf"{layout.master_key} is damaged.*Restore it from a backup"):
            home.make_home(layout)
        assert layout.master_key.read_bytes() == torn


def test_an_authority_without_its_certificate_makes_it_again(layout: Layout) -> None:
    before = pki.ensure_authority(layout)
    for torn in cuts(layout.ca_certificate.read_bytes(), 50):
        layout.ca_certificate.write_bytes(torn)
        layout.ca_bundle.write_bytes(torn)
        after = pki.ensure_authority(layout)
        assert after.certificate.public_key() == before.certificate.public_key()
        assert after.certificate.subject == before.certificate.subject
        assert layout.ca_bundle.read_bytes().endswith(layout.ca_certificate.read_bytes())


def test_an_authority_without_its_key_is_refused(layout: Layout) -> None:
    pki.ensure_authority(layout)
    path = key_file(layout)
    for torn in cuts(path.read_bytes()):
        path.write_bytes(torn)
        with pytest.raises(Permanent, match=rf"{path} is damaged\. Restore it from a backup, or remove it and"):
            pki.ensure_authority(layout)


def test_a_server_certificate_that_was_cut_short_is_issued_again(layout: Layout) -> None:
    path = pki.issue(layout, ["x.airflow.localhost"]).chain
    for torn in cuts(path.read_bytes(), 60):
        path.write_bytes(torn)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*pki.issue(layout, ["x.airflow.localhost"]))


def test_valkey_is_never_left_without_its_administrator(layout: Layout) -> None:
    """An empty list of users would let in everybody on the machine."""
    path = layout.home / "users.acl"
    administrator = f"user default on #{hashlib.sha256(b'pw').hexdigest()} ~* &* +@all\n"
    of_environment = "user env-0123456789ab on #aa resetchannels -@all +get\n"
    valkey._ensure_users(path, "pw", ME)
    assert path.read_text() == administrator
    whole = of_environment + administrator.replace("~*", "sanitize-payload ~*")
    path.write_text(whole)
    valkey._ensure_users(path, "pw", ME)
    assert path.read_text() == whole, "what the server wrote stays"
    for torn in cuts(whole.encode(), 3):
        path.write_bytes(torn)
        valkey._ensure_users(path, "pw", ME)
        lines = path.read_text().splitlines(keepends=True)
        assert lines[0] == administrator
        assert lines[1:] == ([of_environment] if len(torn) >= len(of_environment) else [])


@pytest.mark.parametrize("name", ["nopass", "off"])
def test_a_damaged_administrator_is_replaced(layout: Layout, name: str) -> None:
    path = layout.home / "users.acl"
    path.write_text(f"user default {name} ~* &* +@all\n")
    valkey._ensure_users(path, "pw", ME)
    (line,) = path.read_text().splitlines()
    assert line.startswith("user default on #")


WEB = Component("web-1-a", "web-1", ComponentKind.WEB_SERVER, "r", ("serve",), ports=("web",))


def test_ports_are_read_from_their_copy(layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    layout.environments.mkdir()
    ports = Ports(layout, "127.0.0.1")
    given = ports.assign("0123456789ab", WEB)
    path, copy = layout.environments / "ports.json", layout.environments / "ports.copy.json"
    whole = path.read_bytes()
    for torn in cuts(whole, 5):
        path.write_bytes(torn)
        assert ports.of_component("0123456789ab", WEB.name) == given
        assert path.read_bytes() == whole
    assert "written again from its copy" in caplog.text
    for each in (path, copy):
        each.write_bytes(whole[:20])
    with pytest.raises(Permanent, match=rf"{path} is damaged .* and so is {copy.name}.*Restore one of them"):
        ports.of_component("0123456789ab", WEB.name)
    path.write_bytes(whole)
    assert ports.assign("0123456789ab", WEB) == given
    ports.forget("0123456789ab")
    assert "0123456789ab" not in path.read_text() + copy.read_text()


def test_what_may_not_grow_leaves_the_file_before(tmp_path: Path) -> None:
    """As a full disk or a quota does, for who isn't root."""
    script = (
        "import resource, sys, pathlib\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (10, {resource.RLIM_INFINITY}))\n"
        "from aerodrome.files import write_file\n"
        "write_file(pathlib.Path(sys.argv[1]), 'after' * 10)\n"
    )
    path = tmp_path / "kept"
    path.write_text("before")
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]

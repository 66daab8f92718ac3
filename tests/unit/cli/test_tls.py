"""`aerodrome tls`: what it shows, and where it puts the authority."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.applications import Starlette
from typer.testing import CliRunner

from aerodrome import pki
from aerodrome.cli import tls
from aerodrome.cli.main import app
from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.machineroom import status
from aerodrome.machineroom.installation import Installation
from aerodrome.machineroom.status import EnvironmentStatus
from aerodrome.pki import trust
from support.homes import home_with_key
from support.pairs import write_plain


@pytest.fixture
def layout(installation: Installation) -> Layout:
    layout = home_with_key(Path(os.environ["AERODROME_HOME"]))
    pki.ensure_authority(layout)
    return layout


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trust.Store:
    """A system's store of trust; the program writes down that it ran. And a `certutil`."""
    programs, folder = tmp_path / "bin", tmp_path / "anchors"
    programs.mkdir()
    folder.mkdir()
    for name in ("update-everything", "certutil"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/ran\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return trust.Store("Test", folder, ".crt", ("update-everything", "now"))


def test_the_authority_goes_into_the_stores_and_out_again(layout: Layout, store: trust.Store, tmp_path: Path) -> None:
    profile = tmp_path / "person/.mozilla/firefox/x.default"
    profile.mkdir(parents=True)
    (profile / "cert9.db").touch()
    (tmp_path / "person/.pki/nssdb").mkdir(parents=True)  # without a database in it
    name = trust.name_of(trust.authority(layout))
    for _ in range(2):
        place, browser = trust.install(layout, [store], tmp_path / "person")
    assert Path(place).read_bytes() == layout.ca_certificate.read_bytes()
    assert Path(place).name == f"{'-'.join(name.lower().split())}.crt"
    assert browser == str(profile)
    assert trust.remove(layout, [store], tmp_path / "person") == [place, browser]
    assert not Path(place).exists()
    assert trust.remove(layout, [store], tmp_path / "person") == [browser]
    ran = (tmp_path / "ran").read_text().splitlines()
    added = f"certutil -d sql:{profile} -A -t C,, -i {layout.ca_certificate} -n {name}"
    gone = f"certutil -d sql:{profile} -D -n {name}"
    update = "update-everything now"
    assert ran == [update, added, update, added, update, gone, gone]


def test_a_system_that_we_do_not_know_is_told_what_to_do(layout: Layout, tmp_path: Path) -> None:
    nowhere = trust.Store("Nowhere", tmp_path / "not there", ".crt", ("true",))
    with pytest.raises(Permanent, match="aerodrome tls trust` prints it"):
        trust.install(layout, [nowhere])


def test_a_program_that_fails_is_named(layout: Layout, store: trust.Store, tmp_path: Path) -> None:
    (tmp_path / "bin/update-everything").write_text("#!/bin/sh\necho no >&2\nexit 3\n")
    with pytest.raises(Permanent, match="update-everything now failed") as failed:
        trust.install(layout, [store])
    assert failed.value.detail == "no\n"


def test_without_the_right_to_it_says_how(layout: Layout, store: trust.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError  # what everybody but root gets there

    (place,) = trust.install(layout, [store])
    monkeypatch.setattr(shutil, "copyfile", refused)
    monkeypatch.setattr(Path, "unlink", refused)
    for change, option in ((trust.install, "--install"), (trust.remove, "--remove")):
        with pytest.raises(Permanent, match=f"Run as root.* tls trust {option}"):
            change(layout, [store])
    assert Path(place).exists()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> str:
    """A fingerprint with `:CD:` in it, which a terminal's library takes for a picture of a disc."""
    monkeypatch.setattr(trust, "fingerprint", lambda _: "DF:CD:B3")
    return "SHA-256 DF:CD:B3"


def test_it_prints_the_authority_and_how_to_trust_it(layout: Layout, told: str) -> None:
    done = CliRunner().invoke(app, ["tls", "trust"])
    assert done.exit_code == 0
    assert layout.ca_certificate.read_text() in done.stdout
    assert told in done.stderr
    assert "update-ca-certificates" in done.stderr
    assert str(layout.ca_certificate) in done.stderr


def test_before_the_first_up_there_is_none(installation: Installation) -> None:
    done = CliRunner().invoke(app, ["tls", "trust"])
    assert isinstance(done.exception, Permanent)
    assert "Run `aerodrome up` first" in str(done.exception)


def test_it_shows_what_every_host_answers_with(
    layout: Layout,
    installation: Installation,
    serve_app: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    told: str,
) -> None:
    chain = write_plain(pki.issue(layout, [], ["127.0.0.1"]), layout.home / "plain.pem")
    host = f"127.0.0.1:{serve_app(Starlette(), certificate=chain)}"

    async def environments(_: Installation) -> tuple[EnvironmentStatus, ...]:
        return (EnvironmentStatus("0", "demo", "us-east-1", "AVAILABLE", host, (host, "127.0.0.1:1")),)

    monkeypatch.setattr(status, "environments", environments)
    monkeypatch.setattr(tls.out, "_width", 200)
    monkeypatch.setattr(tls.err, "_width", 200)
    own = layout.home / "own"
    own.mkdir()
    (own / "good.crt").write_bytes(chain.read_bytes())
    (own / "good.key").write_bytes(chain.read_bytes())
    (own / "torn.crt").write_text("torn")
    (own / "torn.key").write_text("torn")
    monkeypatch.setenv("AERODROME_TLS_CERTIFICATE", str(own))
    done = CliRunner().invoke(app, ["tls"])
    assert done.exit_code == 0, done.exception
    assert told in done.stdout
    issued = tls.served(installation, host)
    (answered,) = (line for line in done.stdout.splitlines() if host in line)
    assert trust.name_of(trust.authority(layout)) in answered
    assert f"{issued.not_valid_after_utc:%Y-%m-%d}" in answered
    assert f"{own}/good.crt: 127.0.0.1, until" in done.stdout
    assert f"{own}/torn.crt holds no certificate" in done.stderr
    (silent,) = (line for line in done.stdout.splitlines() if "127.0.0.1:1 " in line)
    assert "doesn't answer from here" in silent

"""Key, configuration and build directory of the embedded cloud; building it for real is an integration test."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from aerodrome.aws import install
from aerodrome.aws.install import CloudSpec, ensure_cloud
from aerodrome.aws.shim import config
from aerodrome.errors import Permanent, Temporary
from aerodrome.layout import Layout
from support.homes import home_with_key

SPEC = CloudSpec(4613, "100000000001", "us-east-1", (1000, 0))
PYTHON = Path("/usr/bin/env")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return home_with_key(tmp_path / "home")


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "cloud.txt"
    path.write_text("ministack==0\n")
    return path


@pytest.fixture
def built(layout: Layout, lock: Path) -> None:
    """As if it had been built."""
    build = install._build_directory(layout, PYTHON, lock)
    build.mkdir(parents=True)
    (build / "complete").touch()


def ensure(layout: Layout, lock: Path, uv: Path = Path("/bin/false")) -> install.Cloud:
    return ensure_cloud(layout, SPEC, python=PYTHON, uv=uv, lock=lock)


@pytest.mark.usefixtures("built")
def test_the_configuration_and_key_are_what_the_shim_reads(
    layout: Layout, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = ensure(layout, lock)
    path = Path(cloud.argv[-1])
    assert path.stat().st_mode & 0o777 == 0o600
    read = config.load(path)
    assert (read.port, read.account, read.region, read.allowed_uids, read.user) == (
        4613,
        "100000000001",
        "us-east-1",
        (1000, 0),
        None,
    )
    assert read.socket == cloud.socket == layout.cloud_socket
    assert read.state_dir == layout.cloud
    monkeypatch.setattr(os, "environ", dict(cloud.variables))
    assert len(config.take_key()) == 32
    assert os.environ == {}
    assert cloud.health_url == "http://127.0.0.1:4613/healthz"


@pytest.mark.usefixtures("built")
def test_the_key_is_made_once(layout: Layout, lock: Path) -> None:
    ensure(layout, lock)
    key = ensure(layout, lock).variables
    assert ensure(layout, lock).variables == key
    (plain,) = map(bytes.fromhex, key.values())
    for file in (each for each in layout.home.rglob("*") if each.is_file()):
        assert plain not in file.read_bytes()
        assert plain.hex().encode() not in file.read_bytes()
    assert layout.cloud.stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("built")
def test_a_lost_key_is_not_replaced(layout: Layout, lock: Path) -> None:
    ensure(layout, lock)
    (layout.cloud / "FORMAT").write_text("1\n")
    (layout.secrets / "cloud.key").unlink()
    with pytest.raises(Permanent, match="Restore the key"):
        ensure(layout, lock)
    assert not (layout.secrets / "cloud.key").exists()


@pytest.mark.usefixtures("built")
def test_an_unknown_user_is_named(layout: Layout, lock: Path) -> None:
    spec = CloudSpec(1, "100000000001", "us-east-1", (0,), user="no-such-user-here")
    with pytest.raises(Permanent, match="no-such-user-here"):
        ensure_cloud(layout, spec, python=PYTHON, uv=Path("/bin/false"), lock=lock)


def test_a_failing_build_leaves_no_marker(layout: Layout, lock: Path) -> None:
    with pytest.raises(Permanent, match="can't be installed"):
        ensure(layout, lock)
    assert not install.cloud_is_built(layout, python=PYTHON, lock=lock)


def test_no_network_is_temporary(layout: Layout, lock: Path, tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    uv.write_text('#!/bin/sh\ncase "$*" in *sync*) echo "error: Failed to fetch: x" >&2; exit 1;; esac\n')
    uv.chmod(0o755)
    with pytest.raises(Temporary, match="package registry is out of reach"):
        ensure(layout, lock, uv)


def test_a_new_lock_is_a_new_build(layout: Layout, lock: Path) -> None:
    before = install._build_directory(layout, PYTHON, lock)
    lock.write_text("ministack==1\n")
    assert install._build_directory(layout, PYTHON, lock) != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"host": "192.0.2.1"}, "loopback"),
        ({"account": "1"}, "12 digits"),
        ({"port": "x"}, "damaged"),
        ({"socket": None}, "damaged"),
    ],
)
@pytest.mark.usefixtures("built")
def test_the_shim_refuses_a_wrong_configuration(
    layout: Layout, lock: Path, change: dict[str, object], message: str
) -> None:
    path = Path(ensure(layout, lock).argv[-1])
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(config.Refusal, match=message):
        config.load(path)


@pytest.mark.parametrize("given", [{}, {config.KEY_VARIABLE: "00" * 31}, {config.KEY_VARIABLE: "no key"}])
def test_the_shim_starts_with_no_key_that_is_none(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", given)
    with pytest.raises(config.Refusal, match="start the embedded cloud with `aerodrome up`"):
        config.take_key()


@pytest.mark.usefixtures("built")
def test_a_key_in_plain_text_of_an_earlier_release_is_sealed(layout: Layout, lock: Path) -> None:
    file = layout.secrets / "cloud.key"
    file.write_bytes(b"p" * 32)
    assert ensure(layout, lock).variables == {config.KEY_VARIABLE: (b"p" * 32).hex()}
    assert b"pppp" not in file.read_bytes()
    assert ensure(layout, lock).variables == {config.KEY_VARIABLE: (b"p" * 32).hex()}
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(Permanent, match=r"cloud\.key is damaged.* restore it from a backup"):
        ensure(layout, lock)
